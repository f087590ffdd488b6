//! `echomesh-server`, the program: everything is in the library beside it.
#![deny(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    echomesh_server::run()
}
