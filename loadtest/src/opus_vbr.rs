//! x
pub const OPUS_VBR: [u16; 3] = [60, 100, 80];
