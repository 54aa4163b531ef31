//! One table: medians, ratios, and what was wanted.

/// What a row's numbers are.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    /// Nanoseconds; less is better.
    Time,
    /// More is better.
    BytesPerSecond,
    /// Less is better.
    Bytes,
}

/// What docs/performance.md wants of clawjail's number.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// Of bubblewrap's, this share at most.
    AtMostOfBubblewrap(f64),
    /// Of the bare one, this many times at most.
    AtMostOfBare(f64),
    /// Of the bare one, this share at least.
    AtLeastOfBare(f64),
    /// Absolute.
    AtMost(f64),
    /// Shown, not judged.
    Nothing,
}

/// One row: bare, floor, bubblewrap, clawjail.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub name: &'static str,
    /// In what.
    pub unit: Unit,
    /// By contender; nothing where one is missing.
    pub values: [Option<f64>; 4],
    /// What clawjail should reach.
    pub wanted: Wanted,
}

/// Prints them all.
pub fn print(rows: &[Row]) {
    println!(
        "{:<34}{:>11}{:>11}{:>11}{:>11}{:>8}{:>8}  wanted",
        "", "bare", "floor", "bubblewrap", "clawjail", "/bare", "/bwrap"
    );
    for row in rows {
        let [bare, floor, bubblewrap, clawjail] = row.values;
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| show(value, row.unit));
        let share = |of: Option<f64>| ratio(clawjail, of).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        println!(
            "{:<34}{:>11}{:>11}{:>11}{:>11}{:>8}{:>8}  {}",
            row.name,
            number(bare),
            number(floor),
            number(bubblewrap),
            number(clawjail),
            share(bare),
            share(bubblewrap),
            judge(row)
        );
    }
}

fn ratio(value: Option<f64>, of: Option<f64>) -> Option<f64> {
    Some(value? / of?)
}

fn judge(row: &Row) -> String {
    let [bare, _, bubblewrap, clawjail] = row.values;
    let (text, met) = match row.wanted {
        Wanted::AtMostOfBubblewrap(most) => {
            (format!("<= {most:.2} of bubblewrap"), ratio(clawjail, bubblewrap).map(|ratio| ratio <= most))
        }
        Wanted::AtMostOfBare(most) => {
            (format!("<= {most:.2} of bare"), ratio(clawjail, bare).map(|ratio| ratio <= most))
        }
        Wanted::AtLeastOfBare(least) => {
            (format!(">= {least:.2} of bare"), ratio(clawjail, bare).map(|ratio| ratio >= least))
        }
        Wanted::AtMost(most) => (format!("<= {}", show(most, row.unit)), clawjail.map(|value| value <= most)),
        Wanted::Nothing => return String::new(),
    };
    let word = match met {
        Some(true) => "met",
        Some(false) => "NOT MET",
        None => "not measured",
    };
    format!("{text}: {word}")
}

fn show(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Time if value < 1e3 => format!("{value:.0} ns"),
        Unit::Time if value < 1e6 => format!("{:.2} us", value / 1e3),
        Unit::Time if value < 1e9 => format!("{:.2} ms", value / 1e6),
        Unit::Time => format!("{:.2} s", value / 1e9),
        Unit::BytesPerSecond => format!("{:.2} GB/s", value / 1e9),
        Unit::Bytes => format!("{:.2} MiB", value / 1024.0 / 1024.0),
    }
}
