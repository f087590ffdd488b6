//! Samples in and out of a running device, and what may go wrong with it there.
//!
//! Not the loop, and not what is done about a fault. In real time: no call here allocates, locks or enters the
//! system, but through ALSA. [`Port`] is a trait so that tests can play a device that fails.
//! In and out: `i16`, one channel, at the device's rate; converted in a buffer made at the start.

use ::alsa::pcm::{IO, PCM};

use super::open::{Granted, Opened, SampleFormat};

/// Longest wait for a period, milliseconds: how soon a loop sees that it is to end.
const WAIT_MS: u32 = 100;

/// What interrupts a running device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ran out of samples, or of room.
    Xrun,
    /// The machine slept.
    Suspended,
    /// It is gone: the system's error number.
    Gone(i32),
}

impl Fault {
    fn of(error: ::alsa::Error) -> Self {
        match error.errno() {
            libc::EPIPE => Fault::Xrun,
            libc::ESTRPIPE => Fault::Suspended,
            number => Fault::Gone(number),
        }
    }
}

/// A device as its loop sees it.
pub trait Port {
    /// What it granted.
    fn granted(&self) -> Granted;
    /// Starts it.
    ///
    /// # Errors
    /// [`Fault`].
    fn start(&mut self) -> Result<(), Fault>;
    /// Waits until a period can be moved. `false`: it could not within `WAIT_MS`.
    ///
    /// # Errors
    /// [`Fault`].
    fn wait(&mut self) -> Result<bool, Fault>;
    /// Frames that can be read, or written, now.
    ///
    /// # Errors
    /// [`Fault`].
    fn available(&mut self) -> Result<usize, Fault>;
    /// Reads at most `out.len()` frames, and no more than a period; 0 if there are none.
    ///
    /// # Errors
    /// [`Fault`].
    fn read(&mut self, out: &mut [i16]) -> Result<usize, Fault>;
    /// Writes frames, at most a period, and says how many were taken.
    ///
    /// # Errors
    /// [`Fault`].
    fn write(&mut self, samples: &[i16]) -> Result<usize, Fault>;
    /// Makes it ready to start again after [`Fault::Xrun`] or [`Fault::Suspended`].
    ///
    /// # Errors
    /// [`Fault`], if it cannot be done from here: the device must be opened again.
    fn recover(&mut self, fault: Fault) -> Result<(), Fault>;
    /// Frames between this program and the air, as the device reckons.
    fn delay(&mut self) -> usize;
}

/// A device of ALSA.
pub struct AlsaPort<'a> {
    pcm: &'a PCM,
    granted: Granted,
    buffer: Buffer<'a>,
}

/// A period as the device has it, all channels.
enum Buffer<'a> {
    S16(IO<'a, i16>, Vec<i16>),
    S32(IO<'a, i32>, Vec<i32>),
    Float(IO<'a, f32>, Vec<f32>),
}

impl<'a> AlsaPort<'a> {
    /// Allocates what moving samples needs.
    ///
    /// # Errors
    /// [`Fault`] if the device is gone already.
    pub fn new(opened: &'a Opened) -> Result<Self, Fault> {
        let Opened { pcm, granted, .. } = opened;
        let samples = granted.period * granted.channels;
        let buffer = match granted.format {
            SampleFormat::S16 => Buffer::S16(pcm.io_i16().map_err(Fault::of)?, vec![0; samples]),
            SampleFormat::S32 => Buffer::S32(pcm.io_i32().map_err(Fault::of)?, vec![0; samples]),
            SampleFormat::Float => Buffer::Float(pcm.io_f32().map_err(Fault::of)?, vec![0.0; samples]),
        };
        Ok(Self { pcm, granted: *granted, buffer })
    }
}

/// No frames now is no fault.
fn frames(outcome: Result<usize, ::alsa::Error>) -> Result<usize, Fault> {
    match outcome {
        Err(error) if matches!(error.errno(), libc::EAGAIN | libc::EINTR) => Ok(0),
        other => other.map_err(Fault::of),
    }
}

/// The mean of a frame's first two channels: a microphone in stereo.
fn mix_down<S: Copy>(samples: &[S], channels: usize, out: &mut [i16], to_i16: impl Fn(S) -> i16) {
    for (mono, frame) in out.iter_mut().zip(samples.chunks_exact(channels)) {
        let left = i32::from(to_i16(frame[0]));
        let right = frame.get(1).map_or(left, |sample| i32::from(to_i16(*sample)));
        *mono = ((left + right) / 2) as i16;
    }
}

/// The same on the first two channels, silence on the others.
fn spread<S: Copy + Default>(samples: &[i16], channels: usize, out: &mut [S], from_i16: impl Fn(i16) -> S) {
    for (mono, frame) in samples.iter().zip(out.chunks_exact_mut(channels)) {
        for (channel, sample) in frame.iter_mut().enumerate() {
            *sample = if channel < 2 { from_i16(*mono) } else { S::default() };
        }
    }
}

/// The cast saturates.
fn from_float(sample: f32) -> i16 {
    (sample * 32_768.0).round() as i16
}

impl Port for AlsaPort<'_> {
    fn granted(&self) -> Granted {
        self.granted
    }

    fn start(&mut self) -> Result<(), Fault> {
        self.pcm.start().map_err(Fault::of)
    }

    fn wait(&mut self) -> Result<bool, Fault> {
        match self.pcm.wait(Some(WAIT_MS)) {
            Err(error) if error.errno() == libc::EINTR => Ok(false),
            other => other.map_err(Fault::of),
        }
    }

    fn available(&mut self) -> Result<usize, Fault> {
        frames(self.pcm.avail_update().map(|frames| usize::try_from(frames).unwrap_or(0)))
    }

    fn read(&mut self, out: &mut [i16]) -> Result<usize, Fault> {
        let Granted { channels, period, .. } = self.granted;
        let samples = out.len().min(period) * channels;
        match &mut self.buffer {
            Buffer::S16(io, buffer) => {
                let count = frames(io.readi(&mut buffer[..samples]))?;
                mix_down(&buffer[..count * channels], channels, out, |sample| sample);
                Ok(count)
            }
            Buffer::S32(io, buffer) => {
                let count = frames(io.readi(&mut buffer[..samples]))?;
                mix_down(&buffer[..count * channels], channels, out, |sample| (sample >> 16) as i16);
                Ok(count)
            }
            Buffer::Float(io, buffer) => {
                let count = frames(io.readi(&mut buffer[..samples]))?;
                mix_down(&buffer[..count * channels], channels, out, from_float);
                Ok(count)
            }
        }
    }

    fn write(&mut self, samples: &[i16]) -> Result<usize, Fault> {
        let Granted { channels, period, .. } = self.granted;
        let samples = &samples[..samples.len().min(period)];
        let length = samples.len() * channels;
        match &mut self.buffer {
            Buffer::S16(io, buffer) => {
                spread(samples, channels, buffer, |sample| sample);
                frames(io.writei(&buffer[..length]))
            }
            Buffer::S32(io, buffer) => {
                spread(samples, channels, buffer, |sample| i32::from(sample) << 16);
                frames(io.writei(&buffer[..length]))
            }
            Buffer::Float(io, buffer) => {
                spread(samples, channels, buffer, |sample| f32::from(sample) / 32_768.0);
                frames(io.writei(&buffer[..length]))
            }
        }
    }

    fn recover(&mut self, fault: Fault) -> Result<(), Fault> {
        match fault {
            // A driver that cannot go on where it was, or is not awake yet, begins anew.
            Fault::Suspended if self.pcm.resume().is_ok() => Ok(()),
            Fault::Xrun | Fault::Suspended => self.pcm.prepare().map_err(|error| Fault::Gone(error.errno())),
            Fault::Gone(_) => Err(fault),
        }
    }

    fn delay(&mut self) -> usize {
        self.pcm.delay().map_or(0, |frames| usize::try_from(frames).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: any granted format and number of channels carries the same sound. Method: mono to it and back.
    #[test]
    fn samples_survive_any_layout() {
        let samples = [0, 1, -1, 1_000, i16::MAX, i16::MIN];
        for channels in 1..=4 {
            let (mut s32, mut float, mut back) = (vec![7; 6 * channels], vec![7.0; 6 * channels], [0; 6]);
            spread(&samples, channels, &mut s32, |sample| i32::from(sample) << 16);
            mix_down(&s32, channels, &mut back, |sample| (sample >> 16) as i16);
            assert_eq!(back, samples);
            spread(&samples, channels, &mut float, |sample| f32::from(sample) / 32_768.0);
            mix_down(&float, channels, &mut back, from_float);
            assert_eq!(back, samples);
            assert!(s32.chunks(channels).all(|frame| frame.iter().skip(2).all(|sample| *sample == 0)));
        }
    }
}
