//! More real clients: lftp, GNOME's gvfs, rclone as an ownCloud client, the npm package `webdav`,
//! and nginx as a proxy.
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::server::{PASSWORD, Place, USER, pattern};
use crate::tool::{missing, tool};

fn succeeded(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    out.into_owned()
}

#[test]
fn lftp_copies_moves_and_deletes() {
    let Some(mut lftp) = tool("lftp") else { return };
    let (place, here) = (Place::new(), tempfile::tempdir().unwrap());
    let server = place.serve();
    let (local, back) = (here.path().join("local"), here.path().join("back"));
    fs::create_dir_all(local.join("sub")).unwrap();
    fs::write(local.join("one file"), pattern(100_000, 1)).unwrap();
    fs::write(local.join("sub/two"), pattern(10, 2)).unwrap();
    let script = here.path().join("script");
    // lftp sends the credentials of a PROPPATCH after its body, and is refused. It once left a file
    // out of a mirror and gave no reason; a second mirror fetches such a file.
    let back_name = back.display();
    let commands = format!(
        "set ssl:verify-certificate no\nset net:timeout 20\nset http:use-propfind yes\n\
         open -u '{USER},{PASSWORD}' {}\nmirror -R '{}' tree\nmirror tree '{back_name}'\n\
         mirror tree '{back_name}'\nmkdir made\n\
         put -O made '{}'\nmv 'made/one file' made/moved\ncat made/moved > /dev/null\n\
         rm 'tree/one file'\nrm -r tree/sub\n",
        server.url(),
        local.display(),
        local.join("one file").display(),
    );
    fs::write(&script, commands).unwrap();
    succeeded(&lftp.env("HOME", here.path()).arg("-f").arg(&script).output().unwrap());
    for name in ["one file", "sub/two"] {
        assert!(
            fs::read(back.join(name)).unwrap() == fs::read(local.join(name)).unwrap(),
            "{name}"
        );
    }
    assert!(fs::read(place.path("made/moved")).unwrap() == pattern(100_000, 1));
    // lftp asks for the deletion of a file with a depth of 0.
    assert!(!place.path("tree/one file").exists() && !place.path("tree/sub").exists());
    let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let (kept, was) = (time(&place.path("made/moved")), time(&local.join("one file")));
    assert!(was.duration_since(kept).is_ok_and(|d| d.as_secs() == 0), "the time comes along");
}

#[test]
fn gvfs_mounts_without_a_desktop() {
    let (Some(_), Some(mut session)) = (tool("gio"), tool("dbus-run-session")) else { return };
    let (place, here) = (Place::new(), tempfile::tempdir().unwrap());
    fs::write(place.path("a.txt"), "hello").unwrap();
    let server = place.serve();
    let url = format!("davs://{USER}@{}/", server.address);
    fs::write(here.path().join("up"), "uploaded").unwrap();
    // The answers accept the self-signed certificate (1) and give the password.
    let script = format!(
        "set -e\nprintf '1\\n{PASSWORD}\\n' | gio mount '{url}' > /dev/null\ngio cat '{url}a.txt'\n\
         gio mkdir '{url}folder'\ngio copy up '{url}folder/with space'\n\
         gio move '{url}a.txt' '{url}folder/b.txt'\ngio list '{url}folder'\n\
         gio copy '{url}folder/with space' back\ngio remove '{url}folder/with space'\n\
         gio mount -u '{url}'\n"
    );
    let output = session
        .args(["--", "timeout", "60", "sh", "-c", &script])
        .current_dir(here.path())
        .env("HOME", here.path())
        .env("XDG_RUNTIME_DIR", here.path())
        .env("GVFS_DISABLE_FUSE", "1")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("not supported") && said.contains("Specified location") {
        return missing("gvfs's part for WebDAV");
    }
    let out = succeeded(&output);
    let mut lines: Vec<&str> = out.trim_start_matches("hello").lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["b.txt", "with space"], "{out}");
    assert_eq!(fs::read(here.path().join("back")).unwrap(), b"uploaded");
    assert_eq!(fs::read(place.path("folder/b.txt")).unwrap(), b"hello");
    assert!(!place.path("a.txt").exists() && !place.path("folder/with space").exists());
}

#[test]
fn the_webdav_library_of_npm_works_with_it() {
    let (Some(mut npm), Some(mut node)) = (tool("npm"), tool("node")) else { return };
    // The package is kept for the next run.
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("npm");
    if !package.join("node_modules/webdav/package.json").exists() {
        fs::create_dir_all(&package).unwrap();
        let arguments = ["install", "--silent", "--no-audit", "--no-fund", "webdav@5.8.0"];
        let installed = npm.args(arguments).current_dir(&package).output().unwrap();
        if !installed.status.success() {
            return missing("npm's package webdav");
        }
    }
    let place = Place::new();
    let server = place.serve();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/webdav.mjs");
    node.arg(script).arg(&package).args([&server.url(), USER, PASSWORD]);
    succeeded(&node.env("NODE_NO_WARNINGS", "1").output().unwrap());
    assert_eq!(place.folder.read_dir().unwrap().count(), 1, "only the server's corner is left");
}

/// rclone in its ownCloud mode, which keeps times and checksums.
#[test]
fn rclone_keeps_times_and_checksums() {
    let Some(rclone) = tool("rclone") else { return };
    let program = rclone.get_program().to_owned();
    let (place, here) = (Place::new(), tempfile::tempdir().unwrap());
    let server = place.serve();
    let local = here.path().join("local");
    fs::create_dir(&local).unwrap();
    for (name, seconds) in [("old", -86_400), ("usual", 1_000_000_000), ("late", 4_400_000_000)] {
        let file = local.join(name);
        fs::write(&file, name).unwrap();
        let since = std::time::Duration::from_secs(i64::unsigned_abs(seconds));
        let epoch = std::time::UNIX_EPOCH;
        let time = if seconds < 0 { epoch - since } else { epoch + since };
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    }
    let obscured = Command::new(&program).args(["obscure", PASSWORD]).output().unwrap();
    let run = |args: &[&str]| {
        let output = Command::new(&program)
            .args(args)
            .args(["--config", "/dev/null", "--webdav-vendor", "owncloud"])
            .args(["--webdav-url", &server.url(), "--webdav-user", USER, "--webdav-pass"])
            .arg(String::from_utf8_lossy(&obscured.stdout).trim())
            .arg("--ca-cert")
            .arg(&server.certificate)
            .output()
            .unwrap();
        succeeded(&output)
    };
    let from = local.to_str().unwrap();
    run(&["copy", from, ":webdav:there"]);
    let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    for name in ["old", "usual", "late"] {
        assert_eq!(time(&place.path("there").join(name)), time(&local.join(name)), "{name}");
    }
    let sums = run(&["hashsum", "SHA1", ":webdav:there"]);
    // Only if the file system of the test keeps extended attributes.
    if crate::effects::keeps_attributes(&place) {
        let all = sums.lines().filter(|line| line.split(' ').next().is_some_and(|s| s.len() == 40));
        assert_eq!(all.count(), 3, "{sums}");
    }
    run(&["check", from, ":webdav:there"]);
}

/// nginx as a proxy in front of the server, as described in docs/FILES.md. It keeps the path, and
/// speaks TLS 1.2 by default.
#[test]
fn behind_nginx() {
    let (Some(mut nginx), Some(_)) = (tool("nginx"), tool("curl")) else { return };
    let (place, here) = (Place::new(), tempfile::tempdir().unwrap());
    let server = place.serve_with(&["--tls12", "--prefix", "/files"]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let (at, behind) = (here.path().display(), server.address);
    let config = format!(
        "daemon off;\npid {at}/pid;\nerror_log {at}/errors;\nevents {{}}\nhttp {{\naccess_log off;\n\
         client_body_temp_path {at}/b;\nproxy_temp_path {at}/p;\nfastcgi_temp_path {at}/f;\nuwsgi_temp_path {at}/u;\n\
         scgi_temp_path {at}/s;\nserver {{\nlisten 127.0.0.1:{port};\nlocation /files/ {{\nproxy_pass https://{behind};\n\
         proxy_set_header X-Forwarded-Host $http_host;\nproxy_http_version 1.1;\nproxy_request_buffering off;\n\
         client_max_body_size 0;\n}}\n}}\n}}\n"
    );
    let file = here.path().join("nginx.conf");
    fs::write(&file, config).unwrap();
    let child = nginx.arg("-c").arg(file).arg("-p").arg(here.path()).spawn().unwrap();
    let _child = Proxy(child);
    let begin = std::time::Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begin.elapsed().as_secs() < 20, "nginx does not start");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let url = format!("http://127.0.0.1:{port}/files/");
    let curl = |args: &[&str]| {
        let login = format!("{USER}:{PASSWORD}");
        let output = Command::new("curl")
            .args(["-sS", "-u", &login, "-o", "-", "-w", " %{http_code}"])
            .args(args)
            .output()
            .unwrap();
        succeeded(&output)
    };
    let local = here.path().join("local");
    fs::write(&local, pattern(2_000_000, 3)).unwrap();
    let (one, other) = (format!("{url}one"), format!("{url}folder/other"));
    let folder = format!("{url}folder/");
    assert_eq!(curl(&["-X", "MKCOL", &folder]), " 201");
    assert_eq!(curl(&["-T", local.to_str().unwrap(), &one]), " 201");
    // The destination names the public address, which is not the one that nginx puts into `Host`.
    let destination = format!("Destination: {other}");
    assert_eq!(curl(&["-X", "MOVE", "-H", &destination, &one]), " 201");
    assert!(fs::read(place.path("folder/other")).unwrap() == pattern(2_000_000, 3));
    let listed = curl(&["-X", "PROPFIND", "-H", "Depth: 1", &folder]);
    assert!(listed.contains("<D:href>/files/folder/other</D:href>"), "{listed}");
    assert!(curl(&[&folder]).contains("href=\"/files/folder/other\""));
}

/// A proxy process that ends with the test.
struct Proxy(std::process::Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        // SIGTERM, so that nginx also ends its worker processes.
        // SAFETY: `kill` takes no pointers. The process id is that of our child, which has not been
        // waited for, so the kernel cannot have reused it.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) };
        let _ = self.0.wait();
    }
}
