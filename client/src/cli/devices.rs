//! `echomesh devices`: the sound devices of this machine and what each can do.

use echomesh_audio::alsa::Direction;
use echomesh_audio::alsa::list::{Device, devices};

use super::commands::{print_line, printable};
use super::failure::Failure;

/// Prints them. With `all`, those too that cannot be used now, and why.
///
/// # Errors
/// `Failure::Audio` if ALSA cannot be read; `Failure::Local` if nobody reads what is printed.
pub fn run(all: bool) -> Result<(), Failure> {
    let (mut shown, mut left_out) = (0, 0);
    for (direction, title) in
        [(Direction::Capture, "Microphones (--input)"), (Direction::Playback, "Loudspeakers (--output)")]
    {
        print_line(title)?;
        for device in devices(direction).map_err(|error| Failure::Audio(error.to_string()))? {
            if device.abilities.is_err() && !all {
                left_out += 1;
                continue;
            }
            shown += 1;
            print(&device)?;
        }
    }
    if shown == 0 {
        eprintln!("echomesh: there is no sound device; use WAV files, tone, or none");
    }
    if left_out > 0 {
        eprintln!("echomesh: {left_out} names left out that cannot be used now; --all shows them and why");
    }
    Ok(())
}

fn print(device: &Device) -> Result<(), Failure> {
    let option = if device.name == "default" { device.name.clone() } else { format!("alsa:{}", device.name) };
    print_line(&format!("  {}", printable(&option)))?;
    if !device.description.is_empty() {
        print_line(&format!("      {}", printable(&device.description)))?;
    }
    match &device.abilities {
        Ok(abilities) => print_line(&format!("      {abilities}")),
        Err(error) => print_line(&format!("      {}", printable(&error.to_string()))),
    }
}
