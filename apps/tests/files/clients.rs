//! Real clients run against `dapple files`. A test prints a message and is skipped if its client is
//! not installed. With `DAPPLE_CLIENTS=require`, a missing client fails the test.
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::server::{PASSWORD, Place, Server, USER, pattern};
use crate::tool::{missing, tool};

fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, all: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if name == ".dapple" || name == "lost+found" {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), root, all);
            } else {
                all.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(root, root, &mut all);
    all
}

fn make_tree(root: &Path) {
    for n in 0..120usize {
        let name = format!("part {}/ä{}/file {n} & more", n % 7, n % 3);
        fs::create_dir_all(root.join(&name).parent().unwrap()).unwrap();
        fs::write(root.join(name), pattern(n * n * 40, n as u64)).unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeded(output: &Output) -> String {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    out
}

#[test]
fn litmus_passes() {
    let Some(mut litmus) = tool("litmus") else { return };
    let place = Place::new();
    let server = place.serve();
    let here = tempfile::tempdir().unwrap();
    let output = litmus
        .current_dir(here.path())
        .args(["-k", &server.url(), USER, PASSWORD])
        .output()
        .unwrap();
    let out = succeeded(&output);
    let summaries: Vec<&str> = out.lines().filter(|line| line.contains("summary for")).collect();
    assert_eq!(summaries.len(), 5, "{out}");
    assert!(summaries.iter().all(|line| line.contains(" 0 failed. 100.0%")), "{out}");
    assert!(!out.contains("FAIL"), "{out}");
}

#[test]
fn rclone_copies_a_tree_there_and_back() {
    let Some(rclone) = tool("rclone") else { return };
    let program = rclone.get_program().to_owned();
    let (place, here) = (Place::new(), tempfile::tempdir().unwrap());
    let (there, back) = (here.path().join("there"), here.path().join("back"));
    make_tree(&there);
    let server = place.serve();
    let obscured = Command::new(&program).args(["obscure", PASSWORD]).output().unwrap();
    let run = |args: &[&str]| {
        let output = Command::new(&program)
            .args(args)
            .args(["--config", "/dev/null", "--webdav-url", &server.url(), "--webdav-user", USER])
            .args(["--webdav-pass", text(&obscured.stdout).trim(), "--ca-cert"])
            .arg(&server.certificate)
            .output()
            .unwrap();
        succeeded(&output)
    };
    let (from, to) = (there.to_str().unwrap(), back.to_str().unwrap());
    run(&["copy", from, ":webdav:tree"]);
    run(&["check", from, ":webdav:tree", "--download"]);
    run(&["copy", ":webdav:tree", to]);
    assert!(tree(&there) == tree(&back), "every byte is the same");
    // Copies and moves that the server does itself.
    run(&["copyto", ":webdav:tree", ":webdav:copy"]);
    run(&["moveto", ":webdav:copy", ":webdav:moved"]);
    assert!(tree(&place.path("moved")) == tree(&there));
    run(&["purge", ":webdav:tree"]);
    assert!(!place.path("tree").exists());
    assert!(run(&["lsf", ":webdav:"]).contains("moved/"));
    run(&["about", ":webdav:"]);
}

fn curl(server: &Server, more: &[&str]) -> Option<Output> {
    let mut curl = tool("curl")?;
    let login = format!("{USER}:{PASSWORD}");
    Some(
        curl.args(["-sS", "-k", "-u", &login])
            .args(more)
            .arg(format!("{}f", server.url()))
            .output()
            .unwrap(),
    )
}

#[test]
fn curl_knows_the_server_by_its_pin() {
    let place = Place::new();
    let server = place.serve();
    server.client().put("/f", b"contents");
    for version in ["--http1.1", "--http2"] {
        let Some(right) = curl(&server, &[version, "--pinnedpubkey", &server.pin]) else { return };
        assert_eq!(succeeded(&right), "contents", "{version}");
        let wrong = "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let wrong = curl(&server, &[version, "--pinnedpubkey", wrong]).unwrap();
        // 90: the public key does not match.
        assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(90), 0), "{version}");
    }
    // curl also accepts the server's certificate, under a name that the certificate contains.
    let by_certificate = Command::new("curl")
        .args(["-sS", "--cacert"])
        .arg(&server.certificate)
        .args(["-u", &format!("{USER}:{PASSWORD}")])
        .arg(format!("https://localhost:{}/f", server.address.port()))
        .args(["--resolve", &format!("localhost:{}:127.0.0.1", server.address.port())])
        .output()
        .unwrap();
    assert_eq!(succeeded(&by_certificate), "contents");
}

#[test]
fn curl_over_http_2_puts_gets_and_resumes() {
    let place = Place::new();
    let server = place.serve();
    let here = tempfile::tempdir().unwrap();
    let whole = pattern(5_000_000, 3);
    let (up, down) = (here.path().join("up"), here.path().join("down"));
    fs::write(&up, &whole).unwrap();
    let Some(put) = curl(&server, &["--http2", "-T", up.to_str().unwrap()]) else { return };
    succeeded(&put);
    assert!(fs::read(place.path("f")).unwrap() == whole);
    fs::write(&down, &whole[..1_234_567]).unwrap();
    let resumed = curl(&server, &["--http2", "-C", "-", "-o", down.to_str().unwrap()]).unwrap();
    succeeded(&resumed);
    assert!(fs::read(&down).unwrap() == whole);
}

#[test]
fn cadaver_works_on_a_folder() {
    let (Some(_), Some(mut script)) = (tool("cadaver"), tool("script")) else { return };
    let (place, home) = (Place::new(), tempfile::tempdir().unwrap());
    let server = place.serve();
    let netrc = format!("machine 127.0.0.1 login {USER} password \"{PASSWORD}\"\n");
    fs::write(home.path().join(".netrc"), netrc).unwrap();
    fs::set_permissions(home.path().join(".netrc"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(home.path().join("local"), "contents").unwrap();
    // cadaver asks about the certificate, and only if its input is a terminal.
    let mut child = script
        .args(["-qec", &format!("cadaver {}", server.url()), "/dev/null"])
        .current_dir(home.path())
        .env("HOME", home.path())
        .env("TERM", "dumb")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let commands = "mkcol c\ncd c\nput local\nlock local\nunlock local\ncopy local second\nmove second third\n\
        get third back\npropset third note hello\npropget third note\ndelete local\nls\nquit\n";
    let mut input = child.stdin.take().unwrap();
    std::thread::spawn(move || {
        // cadaver discards input that arrives before its question.
        std::thread::sleep(Duration::from_millis(1500));
        let _ = input.write_all(b"y\n");
        std::thread::sleep(Duration::from_millis(1500));
        let _ = input.write_all(commands.as_bytes());
        std::thread::sleep(Duration::from_secs(3));
    });
    let said = text(&child.wait_with_output().unwrap().stdout);
    assert!(said.matches("succeeded").count() >= 10, "{said}");
    assert!(!said.contains("failed"), "{said}");
    assert!(said.contains("hello"), "{said}");
    assert_eq!(fs::read_to_string(home.path().join("back")).unwrap(), "contents");
    assert_eq!(fs::read_to_string(place.path("c/third")).unwrap(), "contents");
    assert!(!place.path("c/local").exists());
}

#[test]
fn davfs2_mounts_it() {
    let Some(mut mount) = tool("mount.davfs") else { return };
    if !Path::new("/dev/fuse").exists() {
        // The kernel of this machine lacks FUSE, which no package provides, so `require` does not
        // apply.
        eprintln!("skipped: there is no /dev/fuse");
        return;
    }
    // SAFETY: `geteuid` takes no arguments, changes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return missing("the right to mount");
    }
    let (place, here) = (Place::new(), tempfile::tempdir().unwrap());
    let server = place.serve();
    let (point, cache) = (here.path().join("mnt"), here.path().join("cache"));
    for folder in [&point, &cache] {
        fs::create_dir(folder).unwrap();
    }
    // davfs2 runs as a user of its own, who needs access to these folders.
    fs::set_permissions(here.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    let certificate = here.path().join("cert.pem");
    fs::copy(&server.certificate, &certificate).unwrap();
    let secrets = here.path().join("secrets");
    fs::write(&secrets, format!("{} {USER} \"{PASSWORD}\"\n", server.url())).unwrap();
    let conf = here.path().join("davfs2.conf");
    // Kernels since 6.16 need this larger buffer.
    let settings = format!(
        "ask_auth 0\nbuf_size 64\ntrust_server_cert {}\nsecrets {}\ncache_dir {}\n",
        certificate.display(),
        secrets.display(),
        cache.display()
    );
    fs::write(&conf, settings).unwrap();
    for file in [&secrets, &conf] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let mounted = mount
        .arg(server.url())
        .arg(&point)
        .args(["-o", &format!("conf={}", conf.display())])
        .output()
        .unwrap();
    succeeded(&mounted);
    let local = here.path().join("local");
    make_tree(&local);
    let copied = Command::new("cp").arg("-r").arg(&local).arg(point.join("tree")).status().unwrap();
    assert!(copied.success());
    fs::rename(point.join("tree/part 1"), point.join("tree/renamed")).unwrap();
    fs::remove_dir_all(point.join("tree/part 2")).unwrap();
    // `umount` returns when davfs2 has sent everything.
    succeeded(&Command::new("umount").arg(&point).output().unwrap());
    let mut expected = tree(&local);
    expected.retain(|name, _| !name.starts_with("part 2/"));
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .map(|(name, bytes)| (name.replacen("part 1/", "renamed/", 1), bytes))
        .collect();
    let start = Instant::now();
    while tree(&place.path("tree")) != expected && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(tree(&place.path("tree")) == expected, "{:?}", tree(&place.path("tree")).keys());
}
