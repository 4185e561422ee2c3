//! `dapple event-run`: starts an unchanged libevent program on `libdapple_event`.
//!
//! The subcommand checks which libraries and symbols the program is linked to, and reports what
//! rules the program out. Otherwise it replaces itself with the program (`exec`), with the library
//! preloaded.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use object::elf::FileHeader64;
use object::read::elf::{Dyn, ElfFile, FileHeader};
use object::{Endianness, Object, ObjectSymbol};

/// The file name of the preloaded library.
const LIBRARY: &str = "libdapple_event.so";

/// A part of the file name of every library of libevent 2.1.
const FITS: &str = "-2.1.so";

pub(crate) fn command() -> Command {
    Command::new("event-run")
        .about("Starts an unchanged libevent 2.1 program on dapple")
        .arg(
            Arg::new("library")
                .long("library")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help(
                    "The path of libdapple_event.so [default: next to this program, or in a lib \
                     folder there]",
                ),
        )
        .arg(
            Arg::new("check")
                .long("check")
                .action(ArgAction::SetTrue)
                .help("Check whether the program can be started this way, and exit"),
        )
        .arg(
            Arg::new("program")
                .required(true)
                .num_args(1..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_name("PROGRAM ARGS")
                .value_parser(value_parser!(OsString))
                .help("The program and its arguments"),
        )
}

pub(crate) fn main(args: &ArgMatches) -> Result<(), String> {
    let mut words = args.get_many::<OsString>("program").into_iter().flatten();
    let name = words.next().ok_or("no program was given")?;
    let program = find(name)?;
    let library = match args.get_one::<PathBuf>("library") {
        Some(library) => library.clone(),
        None => find_library()?,
    };
    let library = library.canonicalize().map_err(|e| format!("{}: {e}", library.display()))?;
    let exported = Linked::of(&library)?.defines;
    let linked = Linked::of(&program)?;
    linked.check(&program, &exported)?;
    if args.get_flag("check") {
        println!("{} can be started on {}", program.display(), library.display());
        return Ok(());
    }
    let mut preload = library.into_os_string();
    if let Some(others) = std::env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        preload.push(":");
        preload.push(others);
    }
    let mut command = std::process::Command::new(&program);
    let error = command.arg0(name).args(words).env("LD_PRELOAD", preload).exec();
    Err(format!("{}: {error}", program.display()))
}

/// Returns the path of a program's file, looked up in `PATH` as a shell does.
fn find(name: &OsStr) -> Result<PathBuf, String> {
    let path = Path::new(name);
    if path.components().count() > 1 {
        return Ok(path.to_owned());
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let files = std::env::split_paths(&folders).map(|folder| folder.join(name));
    let is_program =
        |file: &PathBuf| fs::metadata(file).is_ok_and(|m| m.is_file() && m.mode_has(0o111));
    files.into_iter().find(is_program).ok_or_else(|| format!("{}: no such program", name.display()))
}

/// Questions about a file's mode.
trait Mode {
    fn mode_has(&self, bits: u32) -> bool;
}

impl Mode for fs::Metadata {
    fn mode_has(&self, bits: u32) -> bool {
        self.permissions().mode() & bits != 0
    }
}

fn find_library() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| format!("this program's own file: {e}"))?;
    let folders = own.parent().into_iter().flat_map(|beside| {
        [beside.to_owned(), beside.join("deps"), beside.join("../lib"), beside.join("../lib64")]
    });
    let mut files = folders.map(|folder| folder.join(LIBRARY));
    files.find(|file| file.exists()).ok_or_else(|| {
        format!(
            "cannot find {LIBRARY} next to this program: build it with `cargo build --release -p \
             dapple-capi`, or name it with --library"
        )
    })
}

/// The dynamic-linking information of an ELF file.
struct Linked {
    /// Whether the file has a dynamic section.
    is_dynamic: bool,
    /// The names of the libraries that the file needs (`DT_NEEDED`).
    needs: Vec<String>,
    /// The undefined dynamic symbols.
    lacks: BTreeSet<String>,
    /// The defined dynamic symbols.
    defines: BTreeSet<String>,
    is_set_id: bool,
}

impl Linked {
    fn of(file: &Path) -> Result<Linked, String> {
        let say = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
        let data = fs::read(file).map_err(|e| say(&e))?;
        let elf = ElfFile::<FileHeader64<Endianness>>::parse(&*data)
            .map_err(|_| say(&"not a 64-bit Linux program (for a script, name its interpreter)"))?;
        let (endian, header) = (elf.endian(), elf.elf_header());
        let sections = header.sections(endian, &*data).map_err(|e| say(&e))?;
        let dynamic = sections.dynamic(endian, &*data).map_err(|e| say(&e))?;
        let mut needs = Vec::new();
        if let Some((entries, strings)) = dynamic {
            let strings = sections.strings(endian, &*data, strings).map_err(|e| say(&e))?;
            for entry in entries {
                if entry.tag32(endian) == Some(object::elf::DT_NEEDED)
                    && let Ok(name) = entry.string(endian, strings)
                {
                    needs.push(String::from_utf8_lossy(name).into_owned());
                }
            }
        }
        let names = |undefined: bool| {
            let symbols = elf.dynamic_symbols().filter(move |s| s.is_undefined() == undefined);
            symbols.filter_map(|symbol| Some(symbol.name().ok()?.to_owned())).collect()
        };
        let is_set_id = fs::metadata(file).is_ok_and(|m| m.mode_has(0o6000));
        let (lacks, defines) = (names(true), names(false));
        Ok(Linked { is_dynamic: dynamic.is_some(), needs, lacks, defines, is_set_id })
    }

    /// Returns an error if the program cannot be started on a library that exports these names.
    fn check(&self, program: &Path, exported: &BTreeSet<String>) -> Result<(), String> {
        let program = program.display();
        if !self.is_dynamic {
            return Err(format!(
                "{program} is statically linked, so nothing can be preloaded into it"
            ));
        }
        if self.is_set_id {
            return Err(format!(
                "{program} is setuid or setgid, so the system preloads nothing into it"
            ));
        }
        let libevents: Vec<_> =
            self.needs.iter().filter(|name| name.starts_with("libevent")).collect();
        if let Some(other) = libevents.iter().find(|name| !name.contains(FITS)) {
            return Err(format!(
                "{program} is linked to {other}, and only libevent 2.1 is supported"
            ));
        }
        if libevents.is_empty() {
            return Err(format!("{program} is not linked to libevent 2.1"));
        }
        // A name that is internal to libevent's core and that the library does not export.
        let internal = |name: &&String| {
            let of_core = ["event_base_", "event_callback_", "event_active_", "evmap_", "evsig_"];
            name.ends_with('_')
                && of_core.iter().any(|start| name.starts_with(start))
                && !exported.contains(*name)
        };
        match self.lacks.iter().find(internal) {
            Some(name) => Err(format!("{program} calls {name}, which is internal to libevent")),
            None => Ok(()),
        }
    }
}
