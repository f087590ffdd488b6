//! Sample-rate conversion by a windowed sinc, for files whose rate is not 48 kHz.
//!
//! Not for clocks that drift: the ratio is fixed. The first output is at the time of the first input, and
//! as much time comes out as went in.
//! Bounds: `2 × REACH` multiplications a sample when the rate goes up, more in proportion when it goes
//! down; the window of inputs is allocated once.

use std::collections::VecDeque;
use std::f64::consts::PI;

/// Zero crossings of the sinc on each side: with the Blackman window a transition of 9 % of the lower
/// rate's half, and aliases about 74 dB down.
const REACH: usize = 32;

/// Table entries between zero crossings; linear interpolation between them errs by less than −94 dB.
const TABLE_STEPS: usize = 256;

/// Half-amplitude point, as a part of the lower rate's half: the transition ends just below it.
const CUTOFF: f64 = 0.94;

/// A converter of one mono signal.
#[derive(Debug)]
pub(crate) struct Resampler {
    from: u32,
    to: u32,
    /// Right half of the kernel, `TABLE_STEPS` to a zero crossing.
    table: Vec<f32>,
    /// Table steps between inputs.
    table_per_input: f64,
    /// Inputs on each side of an output.
    reach: usize,
    /// Inputs around the next output: `2 × reach`, once primed.
    window: VecDeque<f32>,
    /// Where the next output is: behind input `reach - 1` of the window by `phase / to` inputs.
    phase: u32,
    /// Inputs that came in and are not passed by; the rest of the window is silence around them.
    inputs_left: usize,
    over: bool,
}

impl Resampler {
    /// Both rates in Hz, not 0.
    pub(crate) fn new(from: u32, to: u32) -> Self {
        let lower = f64::from(from.min(to));
        let cutoff = CUTOFF * lower / f64::from(from);
        let reach = (REACH as f64 / cutoff).ceil() as usize;
        let entry = |step: usize| {
            let crossing = step as f64 / TABLE_STEPS as f64;
            let along = PI * crossing / REACH as f64;
            let window = 0.42 + 0.5 * along.cos() + 0.08 * (2.0 * along).cos();
            let sinc = if step == 0 { 1.0 } else { (PI * crossing).sin() / (PI * crossing) };
            (cutoff * sinc * window) as f32
        };
        // One more, for the interpolation behind the last.
        let mut table: Vec<f32> = (0..=REACH * TABLE_STEPS).map(entry).collect();
        table.push(0.0);
        Self {
            from,
            to,
            table,
            table_per_input: cutoff * TABLE_STEPS as f64,
            reach,
            window: VecDeque::from(vec![0.0; reach - 1]),
            phase: 0,
            inputs_left: 0,
            over: false,
        }
    }

    /// The next output; `input` gives the next input, `None` at the end.
    pub(crate) fn next<E>(&mut self, mut input: impl FnMut() -> Result<Option<f32>, E>) -> Result<Option<f32>, E> {
        while self.window.len() < 2 * self.reach {
            let sample = if self.over { None } else { input()? };
            self.over = sample.is_none();
            self.inputs_left += usize::from(sample.is_some());
            self.window.push_back(sample.unwrap_or(0.0));
        }
        if self.inputs_left == 0 {
            return Ok(None);
        }
        let output = self.interpolate();
        let phase = u64::from(self.phase) + u64::from(self.from);
        let passed = (phase / u64::from(self.to)) as usize;
        self.phase = (phase % u64::from(self.to)) as u32;
        self.window.drain(..passed.min(self.window.len()));
        self.inputs_left = self.inputs_left.saturating_sub(passed);
        Ok(Some(output))
    }

    fn interpolate(&self) -> f32 {
        let offset = f64::from(self.phase) / f64::from(self.to);
        let centre = (self.reach - 1) as f64 + offset;
        let weigh = |(at, sample): (usize, &f32)| {
            let step = (at as f64 - centre).abs() * self.table_per_input;
            let whole = step as usize;
            let Some([near, far]) = self.table.get(whole..whole + 2).and_then(|pair| <[f32; 2]>::try_from(pair).ok())
            else {
                return 0.0;
            };
            sample * (near + (far - near) * (step - whole as f64) as f32)
        };
        self.window.iter().enumerate().map(weigh).sum()
    }
}
