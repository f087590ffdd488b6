//! Bytes as lower-case hexadecimal: fingerprints and codes that people copy.

/// Two digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
