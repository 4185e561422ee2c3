//! Real clients run against `dapple web`. A test prints a message and is skipped if its client is
//! not installed. With `DAPPLE_CLIENTS=require`, a missing client fails the test.
mod common;
#[path = "../../io/tests/common/tool.rs"]
mod tool;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::Web;
use tool::tool;

/// Creates a site of 300 pages and 300 data files of all sizes, linked from one index page.
fn make_site(root: &Path) {
    let mut links = String::new();
    for n in 0..300usize {
        let name = format!("part{}/page {n}.html", n % 7);
        fs::create_dir_all(root.join(&name).parent().unwrap()).unwrap();
        let filler: String = (0..n * n).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
        fs::write(root.join(&name), format!("<p>{filler}</p><a href=\"/data{n}.bin\">data</a>"))
            .unwrap();
        let data: Vec<u8> = (0..n * 997).map(|i| (i * 31 + n) as u8).collect();
        fs::write(root.join(format!("data{n}.bin")), data).unwrap();
        links += &format!("<a href=\"/{}\">{n}</a>\n", name.replace(' ', "%20"));
    }
    fs::write(root.join("index.html"), links).unwrap();
}

fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, all: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), root, all);
            } else {
                let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                all.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(root, root, &mut all);
    all
}

#[test]
fn wget_fetches_a_whole_site() {
    let Some(mut wget) = tool("wget") else { return };
    let (site, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_site(site.path());
    let web = Web::start(Some(site.path()), &[]);
    let status = wget
        .args(["--quiet", "--recursive", "--level=inf", "--no-host-directories", "-P"])
        .arg(copy.path())
        .args(["-e", "robots=off"])
        .arg(format!("http://{}/", web.address))
        .status()
        .unwrap();
    assert!(status.success());
    let (expected, got) = (tree(site.path()), tree(copy.path()));
    assert!(expected.keys().eq(got.keys()), "{} files, expected {}", got.len(), expected.len());
    assert!(expected == got, "every byte is the same");
}

#[test]
fn curl_resumes_and_revalidates() {
    let Some(mut curl) = tool("curl") else { return };
    let (site, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let whole: Vec<u8> = (0..5_000_000u32).map(|i| (i / 11) as u8).collect();
    fs::write(site.path().join("file"), &whole).unwrap();
    let web = Web::start(Some(site.path()), &[]);
    let part = copy.path().join("file");
    fs::write(&part, &whole[..1_234_567]).unwrap();
    let url = format!("http://{}/file", web.address);
    let resumed = curl.args(["-sS", "-f", "-C", "-", "-o"]).arg(&part).arg(&url).status().unwrap();
    assert!(resumed.success());
    assert!(fs::read(&part).unwrap() == whole);
    let etag = copy.path().join("etag");
    let mut codes = Vec::new();
    for _ in 0..2 {
        let output = Command::new("curl")
            .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--etag-save"])
            .arg(&etag)
            .args(["--etag-compare"])
            .arg(&etag)
            .arg(&url)
            .output()
            .unwrap();
        codes.push(String::from_utf8(output.stdout).unwrap());
    }
    assert_eq!(codes, ["200", "304"]);
}
