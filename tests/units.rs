//! Properties of sizes, times and shares: what is printed reads back as the same, and no text at all makes the reader
//! wrap or stop.

use clawjail::profile::units::{Bytes, Cpus, Span};
use proptest::prelude::*;

/// What a text means, by arithmetic that cannot wrap.
fn meant(text: &str, units: &[(&str, u128)]) -> Option<u128> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u128>().ok()?.checked_mul(factor)
}

const SIZES: &[(&str, u128)] = &[("B", 1), ("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("T", 1 << 40)];
const TIMES: &[(&str, u128)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

proptest! {
    #[test]
    fn what_is_printed_reads_back_as_the_same(total in 1..=i64::MAX as u64, share in 1..=u32::MAX) {
        prop_assert_eq!(Bytes(total).to_string().parse(), Ok(Bytes(total)));
        prop_assert_eq!(Span(total).to_string().parse(), Ok(Span(total)));
        prop_assert_eq!(Cpus(share).to_string().parse(), Ok(Cpus(share)));
    }

    #[test]
    fn a_round_quantity_is_printed_with_its_unit(count in 1..1000u64, unit in 0..5usize) {
        let (name, factor) = SIZES[unit];
        let text = Bytes(count * factor as u64).to_string();
        let longest = format!("{count}{name}").len();
        prop_assert!(text.len() <= longest);
    }

    #[test]
    fn no_quantity_wraps(number in "[0-9]{1,30}", unit in "(B|K|M|G|T|ms|s|m|h|d|)") {
        let text = number + &unit;
        let fits = |meant: Option<u128>| meant.filter(|meant| (1..=i64::MAX as u128).contains(meant));
        prop_assert_eq!(text.parse::<Bytes>().ok().map(|size| size.0.into()), fits(meant(&text, SIZES)));
        prop_assert_eq!(text.parse::<Span>().ok().map(|time| time.0.into()), fits(meant(&text, TIMES)));
    }

    #[test]
    fn no_text_at_all_stops_the_reader(text in any::<String>()) {
        for error in [
            text.parse::<Bytes>().err(), text.parse::<Span>().err(), text.parse::<Cpus>().err(),
        ].into_iter().flatten() {
            let line = error.to_string();
            prop_assert!(line.contains("expected a") && !line.chars().any(char::is_control));
        }
    }

    #[test]
    fn a_share_is_exact_to_the_thousandth(units in 0..1000u32, thousandths in 0..1000u32) {
        prop_assume!(units + thousandths > 0);
        let text = format!("{units}.{thousandths:03}");
        prop_assert_eq!(text.parse(), Ok(Cpus(units * 1000 + thousandths)));
    }
}

#[test]
fn the_examples_of_the_design_read_as_they_look() {
    assert_eq!("512M".parse(), Ok(Bytes(512 << 20)));
    assert_eq!("5m".parse(), Ok(Span(300_000)));
    assert_eq!("500ms".parse(), Ok(Span(500)));
    assert_eq!("0.5".parse(), Ok(Cpus(500)));
    assert_eq!("2".parse(), Ok(Cpus(2000)));
    assert_eq!(Span(90_000).to_string(), "90s");
    assert_eq!(Bytes(1536 << 20).to_string(), "1536M");
    assert_eq!(Cpus(1500).to_string(), "1.5");
}
