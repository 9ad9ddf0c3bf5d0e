//! Times, sizes and text for people.

use std::io::{self, IsTerminal as _, Write as _};

use control::{Connection, How, State};

/// Writes all of `output` to standard output at once, so that `watch` and
/// other readers never see half of it.
pub(crate) fn write(output: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(output)?;
    stdout.flush()
}

/// `text` without what a terminal could take for a command, or show in
/// another width than one column a character.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// Seconds in the two largest units: `42s`, `3m 5s`, `3h 12m`, `6d 23h`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not beyond u64")]
pub(crate) fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match () {
        () if days > 0 => format!("{days}d {}h", hours % 24),
        () if hours > 0 => format!("{hours}h {}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m {}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

/// Octets with three significant digits: `999 B`, `1.21 KiB`, `34.5 MiB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn size(octets: u64) -> String {
    if octets < 1000 {
        return format!("{octets} B");
    }
    let mut value = octets as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        // 999.5 would be shown as 1000.
        if value < 999.5 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {unit}")
}

/// "resumed in 1 round trip, 12.3 ms".
pub(crate) fn set_up(connection: &Connection) -> Option<String> {
    let how = match connection.how? {
        How::Full => "full exchange",
        How::Resumed => "resumed",
    };
    let trips = connection.round_trips?;
    let plural = if trips == 1 { "" } else { "s" };
    Some(format!("{how} in {trips} round trip{plural}, {:.1} ms", connection.milliseconds?))
}

/// Seconds since 1970 as UTC: `2026-02-28T23:59:59.999Z`.
#[expect(clippy::cast_possible_truncation, reason = "a year beyond i64 is shown wrong")]
pub(crate) fn timestamp(seconds: f64) -> String {
    let total = (seconds * 1e3).round() as i64;
    let (days, millis) = (total.div_euclid(86_400_000), total.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hour, minute) = (millis / 3_600_000, millis / 60_000 % 60);
    let (second, milli) = (millis / 1000 % 60, millis % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The date `days` after 1970-01-01 in the Gregorian calendar, counted in
/// years that begin with March, so that the leap day is a year's last.
fn civil(days: i64) -> (i64, i64, i64) {
    const ERA: i64 = 400 * 365 + 97;
    let since_0000_03_01 = days + 719_468;
    let era = since_0000_03_01.div_euclid(ERA);
    let day_of_era = since_0000_03_01.rem_euclid(ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

/// Colours, where there is somebody to see them (<https://no-color.org>).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Colours(bool);

impl Colours {
    pub(crate) fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self(io::stdout().is_terminal() && !refused && !dumb)
    }

    #[cfg(test)]
    pub(crate) const fn none() -> Self {
        Self(false)
    }

    /// `text`, which says `state`, in its colour.
    pub(crate) fn state(self, state: State, text: &str) -> String {
        let colour = match state {
            State::Up => "32",
            State::Suspended => "36",
            State::Connecting | State::Ending => "33",
            State::Down => "2",
        };
        self.paint(colour, text)
    }

    /// `text` as a heading.
    pub(crate) fn heading(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

pub(crate) const fn state(state: State) -> &'static str {
    match state {
        State::Down => "down",
        State::Connecting => "connecting",
        State::Up => "up",
        State::Suspended => "suspended",
        State::Ending => "ending",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_in_utc() {
        assert_eq!(timestamp(0.0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(951_782_399.5), "2000-02-28T23:59:59.500Z");
        assert_eq!(timestamp(951_782_400.0), "2000-02-29T00:00:00.000Z");
        assert_eq!(timestamp(1_709_251_200.0), "2024-03-01T00:00:00.000Z");
        assert_eq!(timestamp(4_107_542_399.999), "2100-02-28T23:59:59.999Z");
        assert_eq!(timestamp(4_107_542_400.0), "2100-03-01T00:00:00.000Z");
        assert_eq!(timestamp(-0.001), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_span_has_two_units() {
        let spans = [0.9, 42.0, 185.0, 11_525.0, 604_799.0].map(span);
        assert_eq!(spans, ["0s", "42s", "3m 5s", "3h 12m", "6d 23h"]);
    }

    #[test]
    fn a_size_has_three_digits() {
        let sizes = [0, 999, 1000, 1239, 10_240, 1_023_500, u64::MAX].map(size);
        assert_eq!(
            sizes,
            ["0 B", "999 B", "0.98 KiB", "1.21 KiB", "10.0 KiB", "0.98 MiB", "16.0 EiB"]
        );
    }

    #[test]
    fn nothing_from_outside_can_command_a_terminal() {
        assert_eq!(plain("a\x1b[31mb\u{202e}\tc d"), "a?[31mb??c d");
    }
}
