//! The page of a folder in headless Chromium: downloads, uploads by file picker and by drag and
//! drop, a new folder, a zip.
use std::fs;
use std::process::Command;

use crate::server::{PASSWORD, Place, USER, pattern};
use crate::tool::tool;

#[test]
fn n9_a_browser_works_on_the_page_of_a_folder() {
    let (Some(_), Some(mut node)) = (tool("chromium"), tool("node")) else { return };
    let place = Place::new();
    let binary = pattern(300_000, 7);
    fs::write(place.path("binary.bin"), &binary).unwrap();
    fs::write(place.path("text.txt"), "grüße").unwrap();
    let evil = "<title>untouched</title><script>document.title = 'run'</script>";
    fs::write(place.path("evil.html"), evil).unwrap();
    for name in ["Photos", "reports"] {
        fs::create_dir(place.path(name)).unwrap();
    }
    for name in ["chapter 10.md", "chapter 2.md", "Über uns.html", "<b>&.txt"] {
        fs::write(place.path(name), "x".repeat(12_345)).unwrap();
    }
    fs::write(place.path("Photos/in the folder.txt"), "inside").unwrap();
    let server = place.serve();
    let here = tempfile::tempdir().unwrap();
    fs::create_dir(here.path().join("downloads")).unwrap();
    fs::write(here.path().join("picked.txt"), "picked").unwrap();
    fs::write(here.path().join("dropped.txt"), "dropped").unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/browser.mjs");
    node.args([script, &server.url(), USER, PASSWORD]).arg(here.path());
    // The folder for the screenshots of the documentation, if `DAPPLE_SCREENSHOTS` is set.
    node.args(std::env::var_os("DAPPLE_SCREENSHOTS"));
    let output = node.output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let order = r#"["Photos","reports","<b>&.txt","binary.bin","chapter 2.md","chapter 10.md","evil.html","text.txt","Über uns.html"]"#;
    assert_eq!(out.trim(), order, "folders first, numbers by their value");
    assert_eq!(fs::read(place.path("picked.txt")).unwrap(), b"picked");
    assert_eq!(fs::read(place.path("dropped.txt")).unwrap(), b"dropped");
    assert!(place.path("made here").is_dir());
    assert!(fs::read(here.path().join("downloads/binary.bin")).unwrap() == binary);
    let zip = here.path().join("downloads/files.zip");
    let Some(mut unzip) = tool("unzip") else { return };
    let listed = unzip.args(["-t"]).arg(&zip).output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let unpacked =
        |name: &str| Command::new("unzip").arg("-p").arg(&zip).arg(name).output().unwrap().stdout;
    assert_eq!(unpacked("Photos/in the folder.txt"), b"inside");
    assert!(unpacked("binary.bin") == binary);
}
