//! RTCP compounds from any bytes, and from any values.
//!
//! Checked: the reader ends, and takes no more than the bytes can hold; what the writer writes is read back.

use arbitrary::{Arbitrary, Result, Unstructured};
use echomesh_proto::ids::Ssrc;
use echomesh_proto::rtcp::{
    Item, ListenerLoss, REPORT_BYTES_MAX, ReportBlock, Writer, compact_ntp, compact_ntp_us, read, sender_ssrc,
};
use echomesh_proto::time::Time;

/// Blocks beside which all else fits a report.
const BLOCKS_MAX: usize = 8;

/// See the module.
pub fn rtcp(data: &[u8]) {
    let (mut items, mut longest_us) = (0, 0);
    let adds_up = read(data, |item| {
        items += 1;
        if let Item::Echo { delay, .. } = item {
            longest_us = longest_us.max(compact_ntp_us(delay));
        }
    });
    // The shortest item is one of 12 bytes in a list of them.
    assert!(items * 12 <= data.len(), "{items} items in {} bytes", data.len());
    assert!(longest_us < 65_536 * 1_000_000, "16 bits of seconds");
    assert!(!adds_up || sender_ssrc(data).is_some());
    // Too few bytes are no report.
    let _ = written(&mut Unstructured::new(data));
}

fn written(input: &mut Unstructured<'_>) -> Result<()> {
    let ssrc = Ssrc(input.arbitrary()?);
    let name = <&str>::arbitrary(input)?;
    let mut expected = Vec::new();
    let mut blocks = Vec::new();
    for _ in 0..input.int_in_range(0..=BLOCKS_MAX)? {
        blocks.push(ReportBlock {
            ssrc: Ssrc(input.arbitrary()?),
            fraction_lost: input.arbitrary()?,
            lost: input.int_in_range(-0x80_0000..=0x7F_FFFF)?,
            highest_sequence: input.arbitrary()?,
            jitter: input.arbitrary()?,
        });
    }
    expected.extend(blocks.iter().map(|block| Item::Report(*block)));
    let mut out = [0xFF; REPORT_BYTES_MAX];
    let mut writer = Writer::new(&mut out, ssrc, name, &blocks);
    if input.arbitrary()? {
        let time = Time(input.arbitrary()?);
        writer = writer.reference_time(time);
        expected.push(Item::ReferenceTime(compact_ntp(time)));
    }
    if input.arbitrary()? {
        let (of, reference, delay) = (Ssrc(input.arbitrary()?), input.arbitrary()?, input.arbitrary()?);
        writer = writer.echo(of, reference, delay);
        expected.push(Item::Echo { ssrc: of, reference, delay });
    }
    if input.arbitrary()? {
        let loss =
            ListenerLoss { ssrc: Ssrc(input.arbitrary()?), loss: input.arbitrary()?, burst_ms: input.arbitrary()? };
        writer = writer.loss(loss);
        expected.push(Item::Loss(loss));
    }
    let length = writer.finish();
    let mut got = Vec::new();
    assert!(read(&out[..length], |item| got.push(item)), "the lengths add up");
    assert_eq!(got, expected);
    assert_eq!(sender_ssrc(&out), Some(ssrc));
    Ok(())
}
