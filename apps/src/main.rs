//! The `dapple` binary. Its code is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    dapple_apps::main()
}
