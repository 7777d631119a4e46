//! Dates in fields (RFC 9110, section 5.6.7), from and to seconds since 1970.
//!
//! One form is written, three are read: the one that is written, the one of RFC 850 with two digits
//! for the year, and that of C's `asctime`.

/// Bytes of a date as it is written.
pub const DATE_LENGTH: usize = 29;

const DAY_S: u64 = 86_400;
/// The last second of the year 9999, behind which the form has no room for the year.
const LAST_S: u64 = 253_402_300_799;

const WEEKDAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
const LONG_WEEKDAYS: [&[u8]; 7] =
    [b"Monday", b"Tuesday", b"Wednesday", b"Thursday", b"Friday", b"Saturday", b"Sunday"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Writes a time in seconds since 1970, as in `Sun, 06 Nov 1994 08:49:37 GMT`. What lies behind the
/// year 9999 becomes its last second.
pub fn format_date(time_s: u64) -> [u8; DATE_LENGTH] {
    let time_s = time_s.min(LAST_S);
    let (days, second) = (time_s / DAY_S, time_s % DAY_S);
    let (year, month, day) = civil(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    // The first of January 1970 was a Thursday.
    text[..3].copy_from_slice(WEEKDAYS[((days + 3) % 7) as usize]);
    two_digits(&mut text[5..7], day);
    text[8..11].copy_from_slice(MONTHS[(month - 1) as usize]);
    two_digits(&mut text[12..14], year / 100);
    two_digits(&mut text[14..16], year % 100);
    two_digits(&mut text[17..19], second / 3600);
    two_digits(&mut text[20..22], second / 60 % 60);
    two_digits(&mut text[23..25], second % 60);
    text
}

/// Reads a date in any of the three forms, in seconds since 1970; one before 1970 becomes 0. The
/// name of the weekday need not fit the date.
///
/// `now_s` decides which century two digits of a year mean: none that is more than 50 years ahead.
pub fn parse_date(value: &[u8], now_s: u64) -> Option<u64> {
    let comma = value.iter().position(|byte| *byte == b',');
    match comma {
        Some(3) => parse_fixed(value),
        Some(at) => parse_850(&value[..at], &value[at + 1..], now_s),
        None => parse_asctime(value),
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn parse_fixed(value: &[u8]) -> Option<u64> {
    let value: &[u8; DATE_LENGTH] = value.try_into().ok()?;
    let weekday = WEEKDAYS.iter().any(|name| value[..3] == name[..]);
    let signs = (value[4], value[7], value[11], value[16]) == (b' ', b' ', b' ', b' ');
    if !weekday || !signs || &value[25..] != b" GMT" {
        return None;
    }
    let year = number(&value[12..16])?;
    seconds(year, month(&value[8..11])?, number(&value[5..7])?, clock(&value[17..25])?)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn parse_850(weekday: &[u8], rest: &[u8], now_s: u64) -> Option<u64> {
    let rest: &[u8; 23] = rest.try_into().ok()?;
    let signs = (rest[0], rest[3], rest[7], rest[10]) == (b' ', b'-', b'-', b' ');
    if !LONG_WEEKDAYS.contains(&weekday) || !signs || &rest[19..] != b" GMT" {
        return None;
    }
    let (day, month, clock) = (number(&rest[1..3])?, month(&rest[4..7])?, clock(&rest[11..19])?);
    let (now_year, ..) = civil(now_s.min(LAST_S) / DAY_S);
    let mut year = now_year - now_year % 100 + number(&rest[8..10])?;
    // The one next to now, if in the future then by at most 50 years.
    if year + 50 <= now_year {
        year += 100;
    } else if year > now_year + 50 {
        year -= 100;
    }
    // Exactly 50 years may be a little more than 50 years, or a little less.
    let found = seconds(year, month, day, clock)?;
    let too_far = year == now_year + 50 && found > now_s.saturating_add(50 * DAY_S * 1461 / 4);
    if too_far { seconds(year - 100, month, day, clock) } else { Some(found) }
}

/// `Sun Nov  6 08:49:37 1994`
fn parse_asctime(value: &[u8]) -> Option<u64> {
    let value: &[u8; 24] = value.try_into().ok()?;
    let weekday = WEEKDAYS.iter().any(|name| value[..3] == name[..]);
    let signs = (value[3], value[7], value[10], value[19]) == (b' ', b' ', b' ', b' ');
    if !weekday || !signs {
        return None;
    }
    let day = number(if value[8] == b' ' { &value[9..10] } else { &value[8..10] })?;
    seconds(number(&value[20..])?, month(&value[4..7])?, day, clock(&value[11..19])?)
}

fn number(digits: &[u8]) -> Option<u64> {
    super::list::decimal(digits)
}

fn month(name: &[u8]) -> Option<u64> {
    MONTHS.iter().position(|month| *month == name).map(|index| index as u64 + 1)
}

/// Seconds of the day; 60 stands for a leap second, which is the first of the next minute.
fn clock(text: &[u8]) -> Option<u64> {
    let (hour, minute, second) = (number(&text[..2])?, number(&text[3..5])?, number(&text[6..])?);
    let signs = text[2] == b':' && text[5] == b':';
    (signs && hour < 24 && minute < 60 && second <= 60)
        .then_some(hour * 3600 + minute * 60 + second)
}

fn seconds(year: u64, month: u64, day: u64, clock: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day == 0 || day > length {
        return None;
    }
    if year < 1970 {
        return Some(0);
    }
    Some((days(year, month, day) * DAY_S + clock).min(LAST_S))
}

/// Days from 1970 to a date. Years are taken to begin in March, so that the leap day is the last of
/// its year, and the days before a month follow from its number alone.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_month = (153 * month + 2) / 5;
    year * 365 + year / 4 - year / 100 + year / 400 + before_month + day - 1 - DAYS_TO_1970
}

/// From the first of March of the year 0 to the first of January 1970.
const DAYS_TO_1970: u64 = 719_468;

/// Year, month and day: the reverse of [`days`].
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_1970;
    let (era, day) = (days / 146_097, days % 146_097);
    // Take out the leap days that went before, then all years have 365 days.
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

fn two_digits(place: &mut [u8], number: u64) {
    place.copy_from_slice(&[b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_S: u64 = 1_790_000_000;

    #[test]
    fn all_three_forms_are_read() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_date(text.as_bytes(), NOW_S), Some(784_111_777), "{text}");
        }
        assert_eq!(&format_date(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&format_date(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&format_date(951_782_400), b"Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(&format_date(u64::MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
        let parsed = |text: &str| parse_date(text.as_bytes(), NOW_S);
        assert_eq!(parsed("Sat, 31 Dec 2016 23:59:60 GMT"), Some(1_483_228_800));
        assert_eq!(parsed("Sun, 31 Dec 1899 00:00:00 GMT"), Some(0), "before our time");
        assert_eq!(parsed("Wed Nov 16 08:49:37 1994"), Some(784_111_777 + 10 * DAY_S));
    }

    #[test]
    fn two_digits_of_a_year_are_at_most_fifty_years_ahead() {
        let year = |text: &str| parse_date(text.as_bytes(), NOW_S).map(|at| civil(at / DAY_S).0);
        assert_eq!(year("Monday, 01-Jan-26 00:00:00 GMT"), Some(2026));
        assert_eq!(year("Monday, 01-Jan-76 00:00:00 GMT"), Some(2076), "49 years and some days");
        assert_eq!(year("Monday, 31-Dec-76 00:00:00 GMT"), Some(1976), "more than 50 years");
        assert_eq!(year("Monday, 01-Jan-77 00:00:00 GMT"), Some(1977));
        assert_eq!(year("Monday, 01-Jan-99 00:00:00 GMT"), Some(1999));
        let late_s = days(2090, 1, 1) * DAY_S;
        let date = parse_date(b"Monday, 01-Jan-10 00:00:00 GMT", late_s);
        assert_eq!(date.map(|at| civil(at / DAY_S).0), Some(2110));
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for bad in [
            "",
            ",",
            "0",
            "now",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:00 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Tue, 29 Feb 2023 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "sun, 06 nov 1994 08:49:37 gmt",
            "Foo, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 +8:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Someday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 94",
            "Sun Nov    08:49:37 1994",
        ] {
            assert_eq!(parse_date(bad.as_bytes(), NOW_S), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(time_s in 0..=LAST_S, now_s: u64) {
            prop_assert_eq!(parse_date(&format_date(time_s), now_s), Some(time_s));
        }

        #[test]
        fn reading_anything_never_panics(
            value in "\\PC{0,40}|[A-Z][a-z]{2,8},? ?[0-9]{2}[ -]Nov[ -][0-9]{2,4} [0-9:]{8} GMT",
            now_s: u64,
        ) {
            if let Some(time_s) = parse_date(value.as_bytes(), now_s) {
                prop_assert!(time_s <= LAST_S);
            }
        }
    }
}
