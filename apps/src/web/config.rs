//! Settings in a TOML file, under the names of the command line's options. The command line takes
//! precedence, because it is parsed after the file.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use toml::{Table, Value};

use super::options;

pub(super) fn arg() -> Arg {
    Arg::new("config").long("config").value_name("FILE").value_parser(value_parser!(PathBuf)).help(
        "Also read settings from this TOML file, which has the names of these options, such as \
         `list = true`. The command line takes precedence",
    )
}

/// Returns the settings of the command line, merged with those of the file that `--config` names.
pub(super) fn with_file(args: &ArgMatches) -> Result<ArgMatches, String> {
    let Some(file) = args.get_one::<PathBuf>("config") else { return Ok(args.clone()) };
    let text = std::fs::read_to_string(file)
        .map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let from_file = arguments(&text).map_err(|why| format!("{}: {why}", file.display()))?;
    let command_line = std::env::args_os().skip(1).skip_while(|arg| arg != "web").skip(1);
    merged(from_file.beside(args), command_line, file)
}

/// Checks the text of a settings file, and returns a message if it is invalid.
#[cfg(any(test, dapple_fuzzing))]
pub(super) fn check(text: &str) -> Result<(), String> {
    merged(arguments(text)?, std::iter::empty(), Path::new("web.toml")).map(drop)
}

/// The settings of a file, as arguments of a command line.
struct FromFile {
    folder: Option<OsString>,
    options: Vec<OsString>,
}

impl FromFile {
    /// Removes what the command line overrides: the folder, because there is only one, and the
    /// addresses, because a user who names an address does not want to listen elsewhere, too.
    fn beside(mut self, args: &ArgMatches) -> FromFile {
        if args.contains_id("dir") || options::folder_behind_tls(args).is_some() {
            self.folder = None;
        }
        if args.contains_id("listen") {
            let is_listen = |option: &OsString| option.to_string_lossy().starts_with("--listen=");
            self.options.retain(|option| !is_listen(option));
        }
        self
    }
}

/// Parses the settings of a file, and then the command line.
fn merged(
    from_file: FromFile,
    command_line: impl Iterator<Item = OsString>,
    file: &Path,
) -> Result<ArgMatches, String> {
    let command =
        || super::command().arg(crate::verbose()).args_override_self(true).no_binary_name(true);
    // The folder comes first, because after an option it could be taken for a value of it. A
    // leading hyphen would make the folder itself an option.
    let here = |folder: OsString| match folder.to_string_lossy().starts_with('-') {
        true => [OsStr::new("./"), &folder].iter().copied().collect(),
        false => folder,
    };
    let folder = from_file.folder.map(here);
    let from_file: Vec<OsString> = folder.into_iter().chain(from_file.options).collect();
    // The file is parsed alone first, so that an error can be blamed on it. Only the first line of
    // clap's message is used.
    if let Err(error) = command().try_get_matches_from(&from_file) {
        let text = error.render().to_string();
        let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let line = line.replace("'--", "'");
        return Err(format!("{}: {}", file.display(), crate::escaped(&line)));
    }
    let all = from_file.into_iter().chain(command_line);
    command().try_get_matches_from(all).map_err(|error| error.to_string())
}

/// Converts the text of a settings file into arguments.
fn arguments(text: &str) -> Result<FromFile, String> {
    let table: Table = text.parse().map_err(|e: toml::de::Error| {
        let line = e.span().map_or(1, |span| text[..span.start].lines().count().max(1));
        format!("line {line}: {}", crate::escaped(e.message()))
    })?;
    let command = super::command();
    let mut all: Vec<OsString> = Vec::new();
    let mut folder = None;
    for (name, value) in &table {
        let known = command.get_arguments().find(|arg| arg.get_id() == name.as_str());
        let Some(known) = known.filter(|arg| !matches!(arg.get_id().as_str(), "config" | "check"))
        else {
            return Err(format!("unknown setting {name:?}"));
        };
        let texts = match value {
            Value::Array(values) => {
                values.iter().map(|v| one(name, v)).collect::<Result<_, _>>()?
            }
            value => vec![one(name, value)?],
        };
        if known.is_positional() {
            let [one] = &texts[..] else { return Err(format!("`{name}` must be one folder")) };
            folder = Some(one.clone());
            continue;
        }
        match known.get_action() {
            ArgAction::SetTrue => match value {
                Value::Boolean(true) => all.push(format!("--{name}").into()),
                Value::Boolean(false) => {}
                _ => return Err(format!("`{name}` must be true or false")),
            },
            ArgAction::Append => {
                all.extend(texts.into_iter().map(|text| format!("--{name}={text}").into()));
            }
            _ if texts.len() == 1 || known.get_value_delimiter().is_some() => {
                all.push(format!("--{name}={}", texts.join(",")).into());
            }
            _ if known.get_num_args().is_some_and(|n| texts.len() > 1 && n.max_values() > 1) => {
                all.push(format!("--{name}").into());
                all.extend(texts.into_iter().map(OsString::from));
            }
            _ => return Err(format!("`{name}` must be one value, not {}", texts.len())),
        }
    }
    Ok(FromFile { folder: folder.map(OsString::from), options: all })
}

fn one(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(flag) => Ok(flag.to_string()),
        _ => Err(format!("`{name}` must be a string, a number, true or false, or a list of these")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, command_line: &[&str]) -> Result<ArgMatches, String> {
        let command_line = command_line.iter().map(OsString::from);
        merged(arguments(text)?, command_line, Path::new("web.toml"))
    }

    #[test]
    fn a_file_says_what_a_command_line_says_which_counts_more() {
        let text = "dir = \"/srv\"\nlist = true\nspa = false\ncache = 8\n\
                    listen = [\"127.0.0.1:1\", \"unix:/run/x\"]\ntls = [\"c.pem\", \"k.pem\"]\n\
                    cache-control = [\"*.js=max-age=1\"]\ncors = \"*\"\n";
        let args = parse(text, &["--cache", "9", "--cache-control", "*.css=no-store"]).unwrap();
        let path = |id: &str| args.get_many::<PathBuf>(id).unwrap().cloned().collect::<Vec<_>>();
        assert_eq!(path("dir"), [PathBuf::from("/srv")]);
        assert_eq!(path("tls"), [PathBuf::from("c.pem"), PathBuf::from("k.pem")]);
        assert!(args.get_flag("list") && !args.get_flag("spa"));
        assert_eq!(args.get_one::<u64>("cache"), Some(&9));
        assert_eq!(args.get_many::<dapple_io::Addr>("listen").unwrap().count(), 2);
        let rules: Vec<&String> = args.get_many("cache-control").unwrap().collect();
        assert_eq!(rules, ["*.js=max-age=1", "*.css=no-store"]);
        let both = ["/other", "--tls", "dev", "--listen", "[::1]:2"].map(OsString::from);
        let args = super::super::command().no_binary_name(true).get_matches_from(&both);
        let from_file = arguments(text).unwrap().beside(&args);
        let args = merged(from_file, both.into_iter(), Path::new("web.toml")).unwrap();
        assert_eq!(args.get_many::<dapple_io::Addr>("listen").unwrap().count(), 1);
        assert_eq!(args.get_one::<PathBuf>("dir"), Some(&PathBuf::from("/other")));
        assert_eq!(args.get_one::<PathBuf>("tls"), Some(&PathBuf::from("dev")));
        let dev = ["--tls", "dev", "/other"].map(OsString::from);
        let args = super::super::command().no_binary_name(true).get_matches_from(&dev);
        assert_eq!(arguments(text).unwrap().beside(&args).folder, None);
    }

    #[test]
    fn mistakes_are_told_with_what_is_allowed() {
        let problem = |text: &str| parse(text, &[]).unwrap_err();
        assert!(problem("a = 1\nb = [\n").starts_with("line "));
        assert!(problem("frobnicate = 1").contains("unknown setting \"frobnicate\""));
        assert!(problem("config = \"x\"").contains("unknown setting \"config\""));
        assert!(problem("cors = []").contains("`cors` must be one value, not 0"));
        assert!(problem("cache = [8, 9]").contains("`cache` must be one value, not 2"));
        assert!(problem("dir = []").contains("`dir` must be one folder"));
        let cores = parse("cores = [0, 2]\ndir = \"-x\"", &[]).unwrap();
        assert_eq!(cores.get_many::<usize>("cores").unwrap().collect::<Vec<_>>(), [&0, &2]);
        assert_eq!(cores.get_one::<PathBuf>("dir"), Some(&PathBuf::from("./-x")));
        assert!(problem("list = 3").contains("`list` must be true or false"));
        assert!(problem("cache = 1.5").contains("`cache` must be a string, a number"));
        let said = problem("cache = \"lots\"");
        assert!(said.starts_with("web.toml: invalid value 'lots' for 'cache"), "{said}");
        assert!(problem("steal = \"x\"").starts_with("web.toml: invalid value 'x'"));
    }
}
