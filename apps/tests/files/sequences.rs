//! Requests that Windows Explorer and macOS Finder send. They are rebuilt from public reports of
//! their traffic, because neither runs here.
use std::fs;
use std::time::UNIX_EPOCH;

use crate::server::{Client, Place, Response};

/// A client that sends its own fields, such as its name, with every request.
struct Peer {
    client: Client,
    fields: &'static str,
}

impl Peer {
    fn ask(&mut self, method: &str, target: &str, fields: &str, body: &str) -> Response {
        let fields = format!("{}{fields}", self.fields);
        self.client.request(method, target, &fields, body.as_bytes())
    }

    /// Takes a lock. Returns the `If` field and the `Lock-Token` field that name it.
    fn lock(&mut self, target: &str, owner: &str) -> (String, String) {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\" ?><D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/></D:lockscope>\
             <D:locktype><D:write/></D:locktype><D:owner><D:href>{owner}</D:href></D:owner></D:lockinfo>"
        );
        let response = self.ask("LOCK", target, "Depth: 0\r\nTimeout: Second-3600\r\n", &body);
        assert_eq!(response.status, 200, "{}", response.text());
        assert!(response.text().contains(owner), "{}", response.text());
        let token = response.field("lock-token").unwrap();
        (format!("If: ({token})\r\n"), format!("Lock-Token: {token}\r\n"))
    }
}

#[test]
fn explorer_copies_renames_and_deletes() {
    let place = Place::new();
    let server = place.serve();
    let fields =
        "User-Agent: Microsoft-WebDAV-MiniRedir/10.0.19045\r\ntranslate: f\r\nPragma: no-cache\r\n";
    let mut explorer = Peer { client: server.client(), fields };
    // Explorer mounts the folder.
    let options = explorer.ask("OPTIONS", "/", "", "");
    assert_eq!((options.status, options.field("ms-author-via")), (200, Some("DAV")));
    assert!(options.field("dav").unwrap().contains('2'));
    assert_eq!(explorer.ask("PROPFIND", "/", "Depth: 0\r\n", "").status, 207);
    assert_eq!(explorer.ask("PROPFIND", "/desktop.ini", "Depth: 0\r\n", "").status, 404);
    assert_eq!(explorer.ask("PROPFIND", "/", "Depth: 1\r\n", "").status, 207);
    // Explorer copies a file: it first puts an empty file, then locks it.
    let name = "/New%20Text%20Document%20(1)%20%E4%BD%A0.txt";
    assert_eq!(explorer.ask("PROPFIND", name, "Depth: 0\r\n", "").status, 404);
    assert_eq!(explorer.ask("PUT", name, "", "").status, 201);
    let (holds, token) = explorer.lock(name, "DESKTOP\\Ann");
    let times = |seconds: u32| {
        let date = format!("Sun, 06 Nov 1994 08:49:{seconds:02} GMT");
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\" ?><D:propertyupdate xmlns:D=\"DAV:\" xmlns:Z=\"urn:schemas-microsoft-com:\">\
             <D:set><D:prop><Z:Win32CreationTime>{date}</Z:Win32CreationTime><Z:Win32LastAccessTime>{date}</Z:Win32LastAccessTime>\
             <Z:Win32LastModifiedTime>{date}</Z:Win32LastModifiedTime><Z:Win32FileAttributes>00000020</Z:Win32FileAttributes>\
             </D:prop></D:set></D:propertyupdate>"
        )
    };
    assert_eq!(explorer.ask("PROPPATCH", name, "", &times(0)).status, 423, "without the token");
    let patched = explorer.ask("PROPPATCH", name, &holds, &times(1));
    assert_eq!(patched.all("status"), ["HTTP/1.1 200 OK"]);
    assert_eq!(explorer.ask("HEAD", name, "", "").status, 200);
    assert_eq!(explorer.ask("PUT", name, &holds, "contents").status, 204);
    assert_eq!(explorer.ask("PROPPATCH", name, &holds, &times(37)).status, 207);
    assert_eq!(explorer.ask("UNLOCK", name, &token, "").status, 204);
    let told = explorer.ask("PROPFIND", name, "Depth: 0\r\n", "");
    assert_eq!(told.all("getlastmodified"), ["Sun, 06 Nov 1994 08:49:37 GMT"]);
    assert_eq!(told.all("getcontentlength"), ["8"]);
    // `allprop` also reports the attributes that Explorer has set.
    assert!(told.text().contains("00000020"), "{}", told.text());
    let file = place.path("New Text Document (1) 你.txt");
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    assert_eq!(modified.duration_since(UNIX_EPOCH).unwrap().as_secs(), 784_111_777);
    // Explorer renames a file, fails to replace an existing one, and creates a folder that it then
    // renames.
    let to = format!("Destination: https://{}/renamed.txt\r\nOverwrite: F\r\n", "localhost");
    assert_eq!(explorer.ask("MOVE", name, &to, "").status, 201);
    assert_eq!(explorer.ask("PUT", "/other.txt", "", "x").status, 201);
    assert_eq!(explorer.ask("MOVE", "/other.txt", &to, "").status, 412);
    assert_eq!(explorer.ask("MKCOL", "/New%20folder", "", "").status, 201);
    let to = "Destination: https://localhost/Photos\r\nOverwrite: F\r\n";
    assert_eq!(explorer.ask("MOVE", "/New%20folder", to, "").status, 201);
    assert_eq!(explorer.ask("DELETE", "/Photos", "", "").status, 204);
    assert_eq!(explorer.ask("DELETE", "/renamed.txt", "", "").status, 204);
    assert!(!place.path("Photos").exists() && place.path("other.txt").exists());
}

#[test]
fn finder_copies_with_its_own_files_beside() {
    let place = Place::new();
    let server = place.serve();
    let fields = "User-Agent: WebDAVFS/3.0.0 (03008000) Darwin/24.4.0 (arm64)\r\nAccept: */*\r\n";
    let mut finder = Peer { client: server.client(), fields };
    // Finder mounts the folder and asks for the quota. The server does not tell it, because Finder
    // would wait for that space.
    assert_eq!(finder.ask("OPTIONS", "/", "", "").field("dav"), Some("1, 2, 3"));
    let body = "<?xml version=\"1.0\" encoding=\"utf-8\"?><D:propfind xmlns:D=\"DAV:\"><D:prop>\
                <D:getlastmodified/><D:getcontentlength/><D:creationdate/><D:resourcetype/></D:prop></D:propfind>";
    assert_eq!(finder.ask("PROPFIND", "/", "Depth: 0\r\n", body).status, 207);
    let quota = "<?xml version=\"1.0\" encoding=\"utf-8\"?><D:propfind xmlns:D=\"DAV:\"><D:prop>\
                 <D:quota-available-bytes/><D:quota-used-bytes/></D:prop></D:propfind>";
    let told = finder.ask("PROPFIND", "/", "Depth: 0\r\n", quota);
    assert_eq!((told.status, told.all("quota-available-bytes").len()), (207, 0));
    for probe in ["/.hidden", "/._.", "/.DS_Store", "/.metadata_never_index", "/.Spotlight-V100"] {
        assert_eq!(finder.ask("PROPFIND", probe, "Depth: 0\r\n", body).status, 404, "{probe}");
    }
    // A file and the files that go with it: Finder creates each one empty, locks it, writes it in
    // chunks, and unlocks it.
    for name in ["/._photo.jpg", "/photo.jpg", "/.DS_Store"] {
        assert_eq!(finder.ask("PROPFIND", name, "Depth: 0\r\n", body).status, 404);
        assert_eq!(finder.ask("PUT", name, "", "").status, 201);
        let (holds, token) = finder.lock(name, "http://www.apple.com/webdav_fs/");
        let fields =
            format!("{fields}{holds}X-Expected-Entity-Length: 9\r\nTransfer-Encoding: chunked\r\n");
        let head = finder.client.head("PUT", name, &fields);
        finder
            .client
            .send(format!("{head}4\r\nthe \r\n5\r\nbytes\r\n0\r\n\r\n").as_bytes())
            .unwrap();
        assert_eq!(finder.client.response(true).unwrap().status, 204);
        assert_eq!(
            finder.ask("PROPFIND", name, "Depth: 0\r\n", body).all("getcontentlength"),
            ["9"]
        );
        assert_eq!(finder.ask("UNLOCK", name, &token, "").status, 204);
        assert_eq!(fs::read(place.path(&name[1..])).unwrap(), b"the bytes");
    }
    // Finder opens the file: it first reads a part, and later revalidates it.
    let part = finder.ask("GET", "/photo.jpg", "Range: bytes=0-3\r\n", "");
    assert_eq!((part.status, part.text()), (206, "the "));
    let etag = part.field("etag").unwrap().to_owned();
    let again = finder.ask("GET", "/photo.jpg", &format!("If-None-Match: {etag}\r\n"), "");
    assert_eq!(again.status, 304);
    // Finder renames both files, then deletes both, one of them by way of a `.Trashes` folder.
    for name in ["/photo.jpg", "/._photo.jpg"] {
        let to = format!(
            "Destination: https://localhost{}\r\nOverwrite: T\r\n",
            name.replace("photo", "cat")
        );
        assert_eq!(finder.ask("MOVE", name, &to, "").status, 201);
    }
    assert_eq!(finder.ask("MKCOL", "/.Trashes/", "", "").status, 201);
    let to = "Destination: https://localhost/.Trashes/cat.jpg\r\nOverwrite: T\r\n";
    assert_eq!(finder.ask("MOVE", "/cat.jpg", to, "").status, 201);
    assert_eq!(finder.ask("DELETE", "/._cat.jpg", "", "").status, 204);
    assert_eq!(finder.ask("DELETE", "/.Trashes/", "", "").status, 204);
    let left: Vec<_> = finder
        .ask("PROPFIND", "/", "Depth: 1\r\n", body)
        .all("href")
        .iter()
        .map(|h| (*h).to_owned())
        .collect();
    assert_eq!(left, ["/", "/.DS_Store"]);
}
