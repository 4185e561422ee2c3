//! Users, permissions and logins.
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::server::{PASSWORD, Place, READER, USER, add_user, dapple};

#[test]
fn n9_nobody_gets_in_without_a_password() {
    let place = Place::new();
    fs::write(place.path("f"), "secret").unwrap();
    let server = place.serve();
    let mut none = server.client();
    none.authorization.clear();
    for method in ["GET", "OPTIONS", "PROPFIND", "PUT", "DELETE"] {
        let response = none.request(method, "/f", "", b"");
        assert_eq!(response.status, 401, "{method}");
        assert_eq!(
            response.field("www-authenticate"),
            Some("Basic realm=\"dapple\", charset=\"UTF-8\"")
        );
    }
    assert_eq!(server.client_of(USER, "wrong").get("/f").status, 401);
    assert_eq!(server.client_of("nobody", PASSWORD).get("/f").status, 401);
    assert_eq!(server.client().get("/f").status, 200);
    assert_eq!(fs::read(place.path("f")).unwrap(), b"secret");
}

#[test]
fn n9_who_may_only_read_changes_nothing() {
    let place = Place::new();
    fs::write(place.path("f"), "x").unwrap();
    let server = place.serve();
    let mut client = server.client_of(READER, PASSWORD);
    assert_eq!(client.get("/f").status, 200);
    assert_eq!(client.propfind("/", "1", "").status, 207);
    for method in ["PUT", "DELETE", "MKCOL", "COPY", "MOVE", "PROPPATCH", "LOCK", "UNLOCK"] {
        let response = client.request(method, "/f", "Destination: /g\r\n", b"");
        assert_eq!(response.status, 403, "{method}");
    }
    assert_eq!(
        fs::read_dir(&place.folder).unwrap().count(),
        2,
        "the file the files and the server's own folder"
    );
}

#[test]
fn n9_without_users_there_is_a_password_for_this_time() {
    let place = Place::without_users();
    let password = |said: &str| {
        let line = said.lines().find(|line| line.trim().starts_with("password")).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    let server = place.serve();
    let one = password(&server.said);
    assert_eq!(server.client_of("dapple", &one).put("/f", b"x"), 201);
    assert_eq!(server.client_of("dapple", "").get("/f").status, 401);
    // Users that are added while the server runs are let in, and the temporary user no longer is.
    add_user(&place.state, USER, &[]);
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(server.client().get("/f").status, 200);
    assert_eq!(server.client_of("dapple", &one).get("/f").status, 401);
    drop(server);
    assert!(!place.serve().said.contains("password  "), "there are users now");
    let other = password(&Place::without_users().serve().said);
    assert_ne!(one, other);
}

#[test]
fn n9_failed_logins_are_slowed_down_and_logged() {
    let place = Place::new();
    let mut command = dapple(&["--listen", "127.0.0.1:0", "--state"]);
    command.arg(&place.state).arg(&place.folder).stderr(Stdio::piped());
    let mut server = crate::server::Server::spawn(command, &place.state);
    let start = Instant::now();
    for _ in 0..4 {
        assert_eq!(server.client_of(USER, "guess").get("/").status, 401);
    }
    // After each of the first three failures, the next login waits for 250, 500 and 1,000 ms.
    assert!(start.elapsed() >= Duration::from_millis(1750), "{:?}", start.elapsed());
    // Clients that ask at the same time wait in line, and the last ones are told to try again
    // later.
    let asking: Vec<_> = (0..6)
        .map(|_| {
            let mut client = server.client_of(USER, "guess");
            thread::spawn(move || {
                let response = client.get("/");
                (response.status, response.field("retry-after").is_some())
            })
        })
        .collect();
    let answers: Vec<_> = asking.into_iter().map(|asking| asking.join().unwrap()).collect();
    assert!(answers.iter().all(|a| matches!(a, (401, false) | (429, true))), "{answers:?}");
    assert!(answers.contains(&(429, true)), "{answers:?}");
    server.child.kill().unwrap();
    let mut logged = String::new();
    server.child.stderr.take().unwrap().read_to_string(&mut logged).unwrap();
    assert!(logged.matches("a login failed").count() >= 5, "{logged}");
    assert!(
        logged.contains("127.0.0.1") && logged.contains("ann") && !logged.contains("guess"),
        "{logged}"
    );
}

#[test]
fn n9_users_are_managed_by_commands() {
    let place = Place::without_users();
    let run = |args: &[&str], input: &str| {
        let mut child = dapple(&["user"])
            .args(args)
            .arg("--state")
            .arg(&place.state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    assert_eq!(run(&["add", "ann", "--password-stdin"], "p\n").0, Some(0));
    assert!(
        run(&["add", "ron", "--read-only", "--password-stdin"], "p\r\n").1.contains("may read")
    );
    assert_eq!(run(&["list"], "").1, "ann\tread and write\nron\tread-only\n");
    let (code, _, said) = run(&["add", "b:c", "--password-stdin"], "p\n");
    assert_eq!((code, said.contains("colon")), (Some(2), true), "{said}");
    let (code, _, said) = run(&["add", "bob"], "p\n");
    assert_eq!((code, said.contains("--password-stdin")), (Some(2), true), "{said}");
    assert_eq!(run(&["remove", "ann"], "").0, Some(0));
    assert_eq!(run(&["remove", "ann"], "").0, Some(2));
    let mode =
        |name: &str| fs::metadata(place.state.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("users"), mode("")), (0o600, 0o700));
}

#[test]
fn n7_only_tls_1_3_is_spoken() {
    let place = Place::new();
    let server = place.serve();
    let mut plain = TcpStream::connect(server.address).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");
    let Ok(old) = Command::new("curl")
        .args(["-sk", "--tls-max", "1.2", "-o", "/dev/null", "-w", "%{http_code}"])
        .arg(server.url())
        .output()
    else {
        return;
    };
    assert!(!old.status.success() && old.stdout == b"000", "{old:?}");
}

#[test]
fn n9_bad_command_lines_are_told_in_a_line() {
    let place = Place::new();
    let said = |args: &[&str]| {
        let output = dapple(args).arg("--state").arg(&place.state).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    };
    assert!(said(&["/none"]).contains("cannot serve /none"));
    assert!(said(&["--listen", "nowhere", "/tmp"]).contains("nowhere"));
    let folder = place.folder.to_str().unwrap();
    assert!(said(&["--cert", "/none", "--key", "/none", folder]).contains("/none"));
    let inside = dapple(&["--state"]).arg(place.path("state")).arg(&place.folder).output().unwrap();
    let told = String::from_utf8(inside.stderr).unwrap();
    assert!(inside.status.code() == Some(2) && told.contains("would be served"), "{told}");
    fs::set_permissions(place.state.join("users"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(place.state.join("users"), "ann:rw:plain\n").unwrap();
    assert!(said(&[folder]).contains("line 1"));
}

#[test]
fn n9_without_a_setting_the_state_is_where_it_belongs() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let list = |variables: &[(&str, &std::path::Path)]| {
        let mut command = dapple(&["user", "list"]);
        command.env_clear().envs(variables.iter().copied()).output().unwrap()
    };
    let elsewhere = home.path().join("elsewhere");
    for (variables, made) in [
        (vec![("HOME", home.path())], home.path().join(".local/state/dapple")),
        (vec![("HOME", home.path()), ("XDG_STATE_HOME", &*elsewhere)], elsewhere.join("dapple")),
    ] {
        assert!(list(&variables).status.success());
        let mode = std::fs::metadata(&made).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", made.display());
    }
    let refused = list(&[]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("--state DIR") && said.lines().count() == 1, "{said}");
}
