//! Where sound can be shortened or lengthened unheard: places that look alike, a few periods of the voice apart.
//!
//! Not the cut itself: `samples` makes it. In: sound of 48 kHz. Out: how far the best place is, and how alike.
//! Bounds: about 20,000 multiplications; no allocation.

/// Samples over which one place fades into the other: 5 ms.
pub(crate) const OVERLAP: usize = 240;

/// Nearest place looked at, samples: 5 ms.
pub(crate) const OFFSET_MIN: usize = 240;

/// Farthest place looked at, samples: 20 ms, two periods of the deepest voices.
pub(crate) const OFFSET_MAX: usize = 960;

/// Samples that are one in the first, coarse look.
const COARSE: usize = 4;

const COARSE_OVERLAP: usize = OVERLAP / COARSE;
const COARSE_MAX: usize = (OFFSET_MAX + OVERLAP) / COARSE;

/// Energy a sample that is as good as silence, against rounding.
const NOTHING: f32 = 4.0;

/// The place most alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) offset: usize,
    /// Normalized correlation, at most 1.
    pub(crate) likeness: f32,
}

/// Which way to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// At what comes later, to leave out what is between.
    Ahead,
    /// At what was before, to play it again.
    Back,
}

/// Looks for what is like the [`OVERLAP`] samples from `start` on, between [`OFFSET_MIN`] and `offset_max`
/// away. `None` if there is no room for that.
pub(crate) fn find(samples: &[i16], start: usize, way: Way, offset_max: usize) -> Option<Place> {
    let offset_max = match way {
        Way::Ahead => offset_max.min(OFFSET_MAX).min(samples.len().saturating_sub(start + OVERLAP)),
        Way::Back => offset_max.min(OFFSET_MAX).min(start),
    };
    if offset_max < OFFSET_MIN || samples.len() < start + OVERLAP {
        return None;
    }
    let here = &samples[start..start + OVERLAP];
    let at = |offset: usize| match way {
        Way::Ahead => start + offset,
        Way::Back => start - offset,
    };
    let mut coarse_here = [0.0; COARSE_OVERLAP];
    thin(here, &mut coarse_here);
    // All that is looked at, thinned: ahead from the nearest place on, back from the farthest on.
    let first = at(if way == Way::Ahead { OFFSET_MIN } else { offset_max });
    let mut around = [0.0; COARSE_MAX];
    let reach = (offset_max - OFFSET_MIN) / COARSE;
    let around = &mut around[..reach + COARSE_OVERLAP];
    thin(&samples[first..], around);
    let coarse = best((0..=reach).map(|n| (n, likeness(&coarse_here, &around[n..n + COARSE_OVERLAP]))))?;
    let offset = match way {
        Way::Ahead => OFFSET_MIN + coarse.offset * COARSE,
        Way::Back => offset_max - coarse.offset * COARSE,
    };
    let mut fine_here = [0.0; OVERLAP];
    widen(here, &mut fine_here);
    let near = offset.saturating_sub(COARSE).max(OFFSET_MIN)..=(offset + COARSE).min(offset_max);
    best(near.map(|offset| {
        let mut there = [0.0; OVERLAP];
        widen(&samples[at(offset)..at(offset) + OVERLAP], &mut there);
        (offset, likeness(&fine_here, &there))
    }))
}

fn best(places: impl Iterator<Item = (usize, f32)>) -> Option<Place> {
    places
        .map(|(offset, likeness)| Place { offset, likeness })
        .max_by(|left, right| left.likeness.total_cmp(&right.likeness))
}

/// The mean of every [`COARSE`] samples.
fn thin(samples: &[i16], out: &mut [f32]) {
    for (out, samples) in out.iter_mut().zip(samples.chunks_exact(COARSE)) {
        *out = samples.iter().map(|sample| f32::from(*sample)).sum::<f32>() / COARSE as f32;
    }
}

fn widen(samples: &[i16], out: &mut [f32]) {
    for (out, sample) in out.iter_mut().zip(samples) {
        *out = f32::from(*sample);
    }
}

fn likeness(left: &[f32], right: &[f32]) -> f32 {
    let (mut product, mut left_energy, mut right_energy) = (0.0, 0.0, 0.0);
    for (left, right) in left.iter().zip(right) {
        product += left * right;
        left_energy += left * left;
        right_energy += right * right;
    }
    let nothing = NOTHING * left.len() as f32;
    product / ((left_energy + nothing) * (right_energy + nothing)).sqrt()
}

/// Root mean square.
pub(crate) fn loudness(samples: &[i16]) -> f32 {
    if samples.is_empty() {
        return 0.0;
    }
    let energy: f32 = samples.iter().map(|sample| f32::from(*sample) * f32::from(*sample)).sum();
    (energy / samples.len() as f32).sqrt()
}
