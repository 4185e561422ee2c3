//! C and C++ programs with `dapple.h` and `dapple.hpp`, without libevent.
mod common;

use std::process::Command;

use common::{INCLUDE, Linked, compile_linked, has, parts, run_parts};

#[test]
fn a_program_in_c() {
    if let Some(program) = compile_linked("dapple.c", Linked::Alone, &[]) {
        run_parts(&program, 16);
    }
}

#[test]
fn a_program_in_cpp() {
    if let Some(program) = compile_linked("dapple.cpp", Linked::Alone, &["-pedantic"]) {
        run_parts(&program, 5);
    }
}

#[test]
fn e12_a_stall_names_the_file_and_line_of_the_post() {
    let Some(program) = compile_linked("dapple.c", Linked::Alone, &[]) else { return };
    assert!(parts(&program).contains(&"stall".to_owned()));
    let output = Command::new(&program).arg("stall").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let line = told.split("posted at line ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    let expected = format!("dapple.c:{line}: an event (label: sleepy) ");
    assert!(told.contains(&expected), "{told}");
}

#[test]
fn headers_for_c_and_for_cpp() {
    if !has("cc") || !has("c++") || !std::path::Path::new("/usr/include/event2/event.h").exists() {
        return;
    }
    let strict = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I", INCLUDE];
    let all: [(&str, &[&str], &str); 6] = [
        ("cc", &["-std=c99"], "dapple.h"),
        ("cc", &["-std=c99"], "dapple_event.h"),
        ("c++", &["-std=c++11"], "dapple.h"),
        ("c++", &["-std=c++11"], "dapple_event.h"),
        ("c++", &["-std=c++17", "-fno-exceptions"], "dapple.hpp"),
        ("c++", &["-std=c++20"], "dapple.hpp"),
    ];
    for (compiler, flags, header) in all {
        let language = if compiler == "cc" { "c" } else { "c++" };
        let source = format!("#include <{header}>\nint main(void) {{ return 0; }}\n");
        let mut command = Command::new(compiler);
        command.args(strict).args(flags).args(["-x", language, "-"]);
        command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), source.as_bytes()).unwrap();
        let checked = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{compiler} {flags:?} {header}: {errors}");
    }
}
