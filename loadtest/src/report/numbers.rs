//! Numbers as people read them: grouped thousands, fitting units, a dash where nothing was measured.
//!
//! In: values in the units of [`crate::results`]. Out: short text with its unit.

/// What stands where there is no number.
pub const NOTHING: &str = "–";

/// Grouped thousands without decimals.
pub fn count(value: f64) -> String {
    if !value.is_finite() {
        return NOTHING.to_owned();
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if value <= -0.5 {
        text.push('−');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things.
pub fn whole(value: impl Into<u64>) -> String {
    count(value.into() as f64)
}

/// Three significant digits or more, never an exponent: 0.043, 4.21, 53.7, 1,234.
pub fn short(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => NOTHING.to_owned(),
        0.0 => "0".to_owned(),
        size if size < 0.0995 => format!("{value:.3}"),
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => count(value),
    }
}

/// A time given in microseconds, in µs, ms or s.
pub fn time_us(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => NOTHING.to_owned(),
        size if size < 999.5 => format!("{value:.0} µs"),
        size if size < 999_500.0 => format!("{} ms", short(value / 1e3)),
        _ => format!("{} s", short(value / 1e6)),
    }
}

/// A percentile, unless nothing was counted.
pub fn percentile_us(of: u64, value: f64) -> String {
    if of == 0 { NOTHING.to_owned() } else { time_us(value) }
}

/// A share of 0 to 1 as percent; a share that is not zero never shows as zero.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        value if !value.is_finite() => NOTHING.to_owned(),
        0.0 => "0 %".to_owned(),
        value if value.abs() < 0.001 => "< 0.001 %".to_owned(),
        value if value.abs() < 0.1 => format!("{value:.3} %"),
        value if value.abs() < 10.0 => format!("{value:.2} %"),
        value => format!("{value:.0} %"),
    }
}

/// CPU in cores as percent of one core.
pub fn cpu(cores: f64) -> String {
    if cores.is_finite() { format!("{:.1} %", cores * 100.0) } else { NOTHING.to_owned() }
}

/// Memory given in KiB.
pub fn memory_kib(kib: f64) -> String {
    match kib {
        _ if !kib.is_finite() => NOTHING.to_owned(),
        _ if kib < 1024.0 => format!("{} KiB", short(kib)),
        _ if kib < 1024.0 * 1024.0 => format!("{} MiB", short(kib / 1024.0)),
        _ => format!("{} GiB", short(kib / (1024.0 * 1024.0))),
    }
}

/// "1 shard", "2 shards".
pub fn several(number: impl Into<u64>, noun: &str) -> String {
    let number = number.into();
    format!("{} {noun}{}", whole(number), if number == 1 { "" } else { "s" })
}

/// Date and time in UTC of milliseconds since 1970, proleptic Gregorian calendar.
pub fn date_utc(unix_ms: u64) -> String {
    let (days, minutes) = (unix_ms / 86_400_000, unix_ms / 60_000 % 1440);
    // Years are counted from March, so that the leap day is their last: 400 years are 146,097 days.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a number is read at a glance, and nothing measured is never shown as zero.
    #[test]
    fn numbers_are_short_and_have_units() {
        assert_eq!(count(1_234_567.4), "1,234,567");
        assert_eq!(count(-1234.0), "−1,234");
        assert_eq!(count(0.2), "0");
        assert_eq!(count(f64::NAN), NOTHING);
        assert_eq!([short(0.0432), short(4.209), short(53.71), short(1234.0)], ["0.043", "4.21", "53.7", "1,234"]);
        assert_eq!([time_us(85.2), time_us(1234.0), time_us(2.1e6)], ["85 µs", "1.23 ms", "2.10 s"]);
        assert_eq!(percentile_us(0, 3.0), NOTHING);
        assert_eq!(
            [percent(0.0), percent(0.000_001), percent(0.000_5), percent(0.25)],
            ["0 %", "< 0.001 %", "0.050 %", "25 %"]
        );
        assert_eq!([memory_kib(41.3), memory_kib(20_480.0)], ["41.3 KiB", "20.0 MiB"]);
        assert_eq!([several(1_u32, "shard"), several(2_u32, "shard")], ["1 shard", "2 shards"]);
    }

    /// Goal: dates are right on both sides of leap days and in a year that is a multiple of 100.
    #[test]
    fn dates_follow_the_calendar() {
        let at = |seconds: u64| date_utc(seconds * 1000);
        assert_eq!(at(0), "1970-01-01 00:00 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(at(1_709_251_140), "2024-02-29 23:59 UTC");
        assert_eq!(at(1_709_251_200), "2024-03-01 00:00 UTC");
        assert_eq!(at(4_107_542_400), "2100-03-01 00:00 UTC");
    }
}
