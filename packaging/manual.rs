//! Man pages and shell completions of a program, written into a folder: `PROGRAM manual FOLDER`, hidden from the help.
//!
//! A source of both programs, which `scripts/package` runs. In: clap's definitions. Out: `man/` with a page for the
//! program and each of its commands, and `bash/`, `zsh/`, `fish/` under the names that these shells look for.

use std::fs;
use std::io::{Error, Result};
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// Writes all; `section` is the manual's, 1 for programs and 8 for servers.
pub fn write(mut command: Command, section: &str, folder: &Path) -> Result<()> {
    // Otherwise each page has a page of help about help.
    command = command.disable_help_subcommand(true);
    command.build();
    let man = folder.join("man");
    fs::create_dir_all(&man)?;
    pages(&command, section, &man)?;
    let name = command.get_name().to_owned();
    for (shell, file) in [
        (Shell::Bash, format!("bash/{name}")),
        (Shell::Zsh, format!("zsh/_{name}")),
        (Shell::Fish, format!("fish/{name}.fish")),
    ] {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command, name.as_str(), &mut text);
        fs::write(path, text)?;
    }
    Ok(())
}

fn pages(command: &Command, section: &str, folder: &Path) -> Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        pages(below, section, folder)?;
    }
    let name = command.get_display_name().unwrap_or(command.get_name());
    let mut text = Vec::new();
    Man::new(command.clone()).section(section).render(&mut text)?;
    let text = String::from_utf8(text).map_err(Error::other)?;
    // Words of a table keep their places: no line is stretched.
    let text = text.replacen("\n.SH NAME", "\n.ad l\n.SH NAME", 1);
    fs::write(folder.join(format!("{name}.{section}")), text)
}
