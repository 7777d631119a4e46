//! Dates of the Gregorian calendar, in UTC, from microseconds.

const MICROS_PER_SECOND: u64 = 1_000_000;
const SECONDS_PER_DAY: u64 = 86_400;
const MONTHS: [(&str, u64); 12] = [
    ("Jan", 31),
    ("Feb", 28),
    ("Mar", 31),
    ("Apr", 30),
    ("May", 31),
    ("Jun", 30),
    ("Jul", 31),
    ("Aug", 31),
    ("Sep", 30),
    ("Oct", 31),
    ("Nov", 30),
    ("Dec", 31),
];

/// A point in time, as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) year: u64,
    /// From 1.
    pub(super) month: u64,
    /// From 1.
    pub(super) day: u64,
    pub(super) hour: u64,
    pub(super) minute: u64,
    pub(super) second: u64,
    pub(super) micros: u64,
}

impl Date {
    /// From microseconds since 1970.
    pub(super) fn from_micros(time_us: u64) -> Self {
        let seconds = time_us / MICROS_PER_SECOND;
        let (days, rest) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
        // No year has more than 366 days, so this is not too late, and hardly ever too early.
        let mut year = 1970 + days / 366;
        while days_until(year + 1) <= days {
            year += 1;
        }
        let mut day = days - days_until(year);
        let mut month = 1;
        for (place, (_, days)) in (1..).zip(MONTHS) {
            let days = days + u64::from(place == 2 && is_leap(year));
            month = place;
            if day < days {
                break;
            }
            day -= days;
        }
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        Self {
            year,
            month,
            day: day + 1,
            hour,
            minute,
            second,
            micros: time_us % MICROS_PER_SECOND,
        }
    }

    /// The month's English name, in three letters.
    pub(super) fn month_name(&self) -> &'static str {
        MONTHS[self.month as usize - 1].0
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

/// Days from the start of 1970 to the start of a year.
fn days_until(year: u64) -> u64 {
    let leap_days = |before: u64| (before - 1) / 4 - (before - 1) / 100 + (before - 1) / 400;
    365 * (year - 1970) + leap_days(year) - leap_days(1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(seconds: u64) -> String {
        let Date { year, month, day, hour, minute, second, .. } =
            Date::from_micros(seconds * MICROS_PER_SECOND);
        format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }

    #[test]
    fn seconds_are_dates() {
        assert_eq!(shown(0), "1970-01-01 00:00:00");
        assert_eq!(shown(951_782_399), "2000-02-28 23:59:59");
        assert_eq!(shown(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(shown(951_868_800), "2000-03-01 00:00:00");
        assert_eq!(shown(971_186_136), "2000-10-10 13:55:36");
        assert_eq!(shown(1_735_689_599), "2024-12-31 23:59:59");
        assert_eq!(shown(1_735_689_600), "2025-01-01 00:00:00");
        assert_eq!(shown(4_107_542_400), "2100-03-01 00:00:00");
        assert_eq!(Date::from_micros(1_999_999).micros, 999_999);
        let last = Date::from_micros(u64::MAX);
        assert!(last.year > 500_000 && (1..=31).contains(&last.day), "{last:?}");
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut before = Date::from_micros(0);
        for day in 1..146_097 {
            let date = Date::from_micros(day * SECONDS_PER_DAY * MICROS_PER_SECOND);
            let same_month = (before.year, before.month, before.day + 1);
            let next_month = (before.year, before.month + 1, 1);
            let next_year = (before.year + 1, 1, 1);
            let found = (date.year, date.month, date.day);
            let expected = [same_month, next_month, next_year];
            assert!(expected.contains(&found), "{before:?} {date:?}");
            assert!(found != next_year || (before.month, before.day) == (12, 31), "{before:?}");
            before = date;
        }
        assert_eq!((before.year, before.month, before.day), (2369, 12, 31));
    }
}
