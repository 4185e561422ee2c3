//! N2: the example `axum`, which serves HTTP/1.1 and HTTP/2 through hyper's traits, under real
//! clients. If a client is missing, its test is skipped with a message. With
//! `DAPPLE_CLIENTS=require` it fails.
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The running example, which is killed on drop.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start() -> Server {
        // From target/debug/deps/bridge-... to target/debug/examples/axum. `cargo test` builds it,
        // but `cargo test --test bridge` does not.
        let test = std::env::current_exe().unwrap();
        let example: PathBuf = test.ancestors().nth(2).unwrap().join("examples").join("axum");
        let mut process = Command::new(&example)
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| {
                panic!("{}: {e}; cargo build -p dapple-io --example axum", example.display())
            });
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Server { process, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Returns the client's command, if the client is installed.
fn client(name: &str) -> Option<Command> {
    if Command::new(name).arg("--version").output().is_ok() {
        return Some(Command::new(name));
    }
    assert_ne!(std::env::var("DAPPLE_CLIENTS").as_deref(), Ok("require"), "{name} is missing");
    eprintln!("skipped: {name} is missing");
    None
}

/// Returns the output of curl for these arguments.
fn curl(args: &[&str]) -> Option<String> {
    let output = client("curl")?.args(["-sS", "--max-time", "20"]).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn n2_curl_talks_http_1_and_http_2_to_an_axum_application() {
    let server = Server::start();
    for (option, version) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let path = |path: &str| format!("{}{path}", server.url);
        let Some(hello) = curl(&[option, "-w", "%{http_version}", &path("/hello?name=everybody")])
        else {
            return;
        };
        assert_eq!(hello, format!("hello, everybody\n{version}"));
        let entry = path(&format!("/entries/by-{version}"));
        let status = ["-w", "%{http_code}"];
        let put =
            |value| curl(&[&[option, "-X", "PUT", "-d", value], &status[..], &[&entry]].concat());
        assert_eq!(put("first").unwrap(), "201");
        assert_eq!(put("second").unwrap(), "204");
        assert_eq!(curl(&[option, &entry]).unwrap(), "second");
        let missing = path("/entries/nothing");
        assert_eq!(curl(&[&[option], &status[..], &[&missing]].concat()).unwrap(), "404");
        assert_eq!(curl(&[option, "-X", "POST", &path("/sum/1000")]).unwrap(), "500500\n");
        assert_eq!(curl(&[option, &path("/slow")]).unwrap(), "after 100 ms\n");
    }
}

#[test]
fn n2_h2load_gets_an_answer_to_every_request() {
    let server = Server::start();
    for protocol in ["--h1", "--no-tls-proto=h2c"] {
        let Some(mut h2load) = client("h2load") else { return };
        let url = format!("{}/hello", server.url);
        let output =
            h2load.args([protocol, "-n", "5000", "-c", "20", "-m", "10", &url]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        let all = "requests: 5000 total, 5000 started, 5000 done, 5000 succeeded, 0 failed";
        assert!(told.contains(all), "{told}");
    }
}

#[test]
fn n2_what_waits_for_nothing_is_done_at_once() {
    use dapple_io::hyper::AtOnce;
    use hyper::rt::Executor;
    let rt = dapple_io::runtime().workers(2).build().unwrap();
    let h = rt.handle();
    let (tx, rx) = std::sync::mpsc::channel();
    let color = h.new_color();
    let handle = h.clone();
    h.post(&color, move |_| {
        let tasks = AtOnce::of(&handle);
        let now = tx.clone();
        tasks.execute(async move { now.send("at once").unwrap() });
        tx.send("then the rest of the event").unwrap();
        let (sleep, last) = (handle.clone(), tx.clone());
        let here = std::thread::current().id();
        tasks.execute(async move {
            assert_eq!(std::thread::current().id(), here);
            sleep.sleep(std::time::Duration::from_millis(20)).await;
            last.send("later").unwrap();
        });
        tx.send("it waits").unwrap();
    });
    let all: Vec<&str> = rx.iter().collect();
    assert_eq!(all, ["at once", "then the rest of the event", "it waits", "later"]);
}
