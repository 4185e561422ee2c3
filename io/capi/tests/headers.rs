//! The headers in `include/` are the output of cbindgen for the sources: comments, types and
//! declarations. With `DAPPLE_BLESS=1` the tests write the headers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cbindgen::{Config, DocumentationStyle, Language, Style};

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

/// The names in C of the Rust types.
const NAMES: [(&str, &str); 17] = [
    ("Runtime", "dapple_runtime"),
    ("Options", "dapple_options"),
    ("Color", "dapple_color"),
    ("ColorOptions", "dapple_color_options"),
    ("Access", "dapple_access"),
    ("Timer", "dapple_timer"),
    ("Watch", "dapple_watch"),
    ("Domain", "dapple_domain"),
    ("Token", "dapple_token"),
    ("Function", "dapple_function"),
    ("WatchFunction", "dapple_watch_function"),
    ("StepFunction", "dapple_step_function"),
    ("CloneFunction", "dapple_clone_function"),
    ("Base", "struct event_base"),
    ("Event", "struct event"),
    ("Bufferevent", "struct bufferevent"),
    ("Listener", "struct evconnlistener"),
];

/// The functions that libevent's headers already declare.
const OF_LIBEVENT: [&str; 4] = [
    "bufferevent_add_to_rate_limit_group",
    "bufferevent_remove_from_rate_limit_group",
    "evconnlistener_disable",
    "evconnlistener_free",
];

fn text(name: &str) -> String {
    std::fs::read_to_string(Path::new(FOLDER).join("include/parts").join(name)).unwrap()
}

fn config(header: &str) -> Config {
    let mut config = Config {
        language: Language::C,
        cpp_compat: true,
        no_includes: true,
        usize_is_size_t: true,
        style: Style::Both,
        documentation_style: DocumentationStyle::Doxy,
        header: Some(text(&format!("{header}.top"))),
        ..Config::default()
    };
    config.function.prefix = Some("DAPPLE_API".to_owned());
    config.line_length = 100;
    config.tab_width = 4;
    config.export.rename = NAMES.map(|(rust, c)| (rust.to_owned(), c.to_owned())).into();
    config.export.exclude = OF_LIBEVENT.map(str::to_owned).into();
    config
}

/// Returns the header that cbindgen makes from the sources.
fn made(header: &str, sources: &[&str]) -> String {
    let mut builder = cbindgen::Builder::new().with_config(config(header));
    for source in sources {
        builder = builder.with_src(Path::new(FOLDER).join("src").join(source));
    }
    let mut bytes = Vec::new();
    builder.generate().unwrap().write(&mut bytes);
    let made = String::from_utf8(bytes).unwrap();
    format!("{}\n{}", made.trim_end(), text(&format!("{header}.bottom")))
}

fn check(header: &str, sources: &[&str]) {
    let made = made(header, sources);
    let path: PathBuf = Path::new(FOLDER).join("include").join(header);
    if std::env::var_os("DAPPLE_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let differ = made.lines().zip(kept.lines()).position(|(made, kept)| made != kept);
    assert!(
        made == kept,
        "{header} is not what the sources say, from line {} on: run this test with DAPPLE_BLESS=1",
        differ.map_or(made.lines().count().min(kept.lines().count()), |at| at + 1)
    );
}

#[test]
fn dapple_h_is_what_the_sources_say() {
    let files =
        ["callee", "runtimes", "colors", "posts", "timers", "watches", "offload", "domains"];
    let sources = files.map(|file| format!("runtime/{file}.rs"));
    check("dapple.h", &sources.each_ref().map(String::as_str));
}

#[test]
fn dapple_event_h_is_what_the_sources_say() {
    check("dapple_event.h", &["event/colors.rs", "event/tied.rs"]);
}

#[test]
fn every_exported_function_is_declared() {
    let declared = ["dapple.h", "dapple_event.h"]
        .map(|header| std::fs::read_to_string(format!("{FOLDER}/include/{header}")).unwrap())
        .concat();
    let mut functions: HashMap<String, PathBuf> = HashMap::new();
    for folder in ["runtime", "event"] {
        for file in std::fs::read_dir(format!("{FOLDER}/src/{folder}")).unwrap() {
            let path = file.unwrap().path();
            let source = std::fs::read_to_string(&path).unwrap();
            for name in source.split("extern \"C\" fn ").skip(1) {
                let name = name.split('(').next().unwrap();
                functions.insert(name.to_owned(), path.clone());
            }
        }
    }
    let is_ours = |name: &&String| name.starts_with("dapple_") || name.ends_with("_set_color");
    let ours: Vec<_> = functions.keys().filter(is_ours).collect();
    assert!(ours.len() > 40, "{ours:?}");
    let missing: Vec<_> =
        ours.iter().filter(|name| !declared.contains(&format!("{name}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
