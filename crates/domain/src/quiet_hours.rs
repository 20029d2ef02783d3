//! Quiet hours: the hours of the day in which a customer wants no SMS.

use chrono::{NaiveTime, TimeDelta, Timelike};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A daily interval in the customer's time zone. It includes `start`, excludes `end`, and may contain
/// midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct QuietHours {
    start: NaiveTime,
    end: NaiveTime,
    time_zone: Tz,
}

/// The serialised form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    /// `HH:MM`.
    start: String,
    /// `HH:MM`.
    end: String,
    /// The name of a time zone in the IANA database.
    time_zone: String,
}

/// The values are no quiet hours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuietHours {
    #[error("expected times from 00:00 to 23:59, such as 22:00")]
    Time,
    #[error("expected the name of a time zone in the IANA database, such as Asia/Tokyo")]
    TimeZone,
    #[error("start and end are equal; send null for no quiet hours")]
    Empty,
    #[error("quiet hours have at most {} hours", QuietHours::MAX_HOURS)]
    TooLong,
}

impl QuietHours {
    /// The maximum length: a queue can delay a message for half a day.
    pub const MAX_HOURS: i64 = 12;

    /// Quiet hours from `start` to `end`, both as `HH:MM`, in a time zone of the IANA database.
    pub fn new(start: &str, end: &str, time_zone: &str) -> Result<Self, InvalidQuietHours> {
        let quiet_hours = Self {
            start: parse_time(start)?,
            end: parse_time(end)?,
            time_zone: time_zone.parse().map_err(|_| InvalidQuietHours::TimeZone)?,
        };
        let minutes = (quiet_hours.end - quiet_hours.start)
            .num_minutes()
            .rem_euclid(24 * 60);
        match minutes {
            0 => Err(InvalidQuietHours::Empty),
            minutes if minutes > Self::MAX_HOURS * 60 => Err(InvalidQuietHours::TooLong),
            _ => Ok(quiet_hours),
        }
    }

    /// When the quiet hours end that contain `at`. `None` if `at` is not in quiet hours.
    ///
    /// The clocks of the time zone decide. When they change during the quiet hours, these are an hour longer
    /// or shorter than on other days.
    #[must_use]
    pub fn end_after(&self, at: Timestamp) -> Option<Timestamp> {
        if !self.contains(at) {
            return None;
        }
        // All time zones change on a full minute. A day has at least 12 hours that are not quiet, and no
        // change of a clock skips them, so the loop ends.
        let minute = Timestamp::from_timestamp(at.timestamp() - at.timestamp().rem_euclid(60), 0)?;
        (1..)
            .map(|minutes| minute + TimeDelta::minutes(minutes))
            .find(|later| !self.contains(*later))
    }

    fn contains(&self, at: Timestamp) -> bool {
        let time = at.with_timezone(&self.time_zone).time();
        if self.start < self.end {
            self.start <= time && time < self.end
        } else {
            self.start <= time || time < self.end
        }
    }
}

fn parse_time(text: &str) -> Result<NaiveTime, InvalidQuietHours> {
    let has_digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once(':') {
        Some((hour, minute)) if has_digits(hour) && has_digits(minute) => {
            NaiveTime::parse_from_str(text, "%H:%M").map_err(|_| InvalidQuietHours::Time)
        }
        _ => Err(InvalidQuietHours::Time),
    }
}

impl TryFrom<Fields> for QuietHours {
    type Error = InvalidQuietHours;

    fn try_from(fields: Fields) -> Result<Self, InvalidQuietHours> {
        Self::new(&fields.start, &fields.end, &fields.time_zone)
    }
}

impl From<QuietHours> for Fields {
    fn from(quiet_hours: QuietHours) -> Self {
        let text = |time: NaiveTime| format!("{:02}:{:02}", time.hour(), time.minute());
        Self {
            start: text(quiet_hours.start),
            end: text(quiet_hours.end),
            time_zone: quiet_hours.time_zone.name().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn end_after(quiet_hours: QuietHours, time: &str) -> Option<String> {
        let end = quiet_hours.end_after(at(time))?;
        Some(end.with_timezone(&quiet_hours.time_zone).to_rfc3339())
    }

    #[test]
    fn quiet_hours_over_midnight_end_in_the_morning() {
        let night = QuietHours::new("22:00", "08:00", "Asia/Tokyo").unwrap();
        for (time, end) in [
            ("2026-11-29T21:59:59+09:00", None),
            ("2026-11-29T22:00:00+09:00", Some("2026-11-30T08:00:00+09:00")),
            ("2026-11-29T23:00:00.5+09:00", Some("2026-11-30T08:00:00+09:00")),
            ("2026-11-30T00:00:00+09:00", Some("2026-11-30T08:00:00+09:00")),
            ("2026-11-30T07:59:59.999+09:00", Some("2026-11-30T08:00:00+09:00")),
            ("2026-11-30T08:00:00+09:00", None),
            ("2026-11-30T12:00:00+09:00", None),
        ] {
            assert_eq!(end_after(night, time).as_deref(), end, "{time}");
        }
        let noon = QuietHours::new("12:00", "13:30", "Asia/Kolkata").unwrap();
        assert_eq!(end_after(noon, "2026-11-29T11:59:00+05:30"), None);
        assert_eq!(
            end_after(noon, "2026-11-29T13:29:00+05:30").as_deref(),
            Some("2026-11-29T13:30:00+05:30")
        );
    }

    /// In the United States clocks skip 02:00 to 03:00 on 2026-03-08, and repeat 01:00 to 02:00 on
    /// 2026-11-01.
    #[test]
    fn clock_changes_lengthen_and_shorten_quiet_hours() {
        let new_york = |start: &str, end: &str| QuietHours::new(start, end, "America/New_York").unwrap();
        for (start, end, time, expected) in [
            (
                "22:00",
                "08:00",
                "2026-03-07T23:00:00-05:00",
                Some("2026-03-08T08:00:00-04:00"),
            ),
            (
                "22:00",
                "08:00",
                "2026-10-31T23:00:00-04:00",
                Some("2026-11-01T08:00:00-05:00"),
            ),
            // The end is in the hour that is skipped.
            (
                "22:00",
                "02:30",
                "2026-03-08T01:00:00-05:00",
                Some("2026-03-08T03:00:00-04:00"),
            ),
            // The hour with the end comes twice.
            (
                "22:00",
                "01:30",
                "2026-11-01T01:00:00-04:00",
                Some("2026-11-01T01:30:00-04:00"),
            ),
            ("22:00", "01:30", "2026-11-01T01:45:00-04:00", None),
            (
                "22:00",
                "01:30",
                "2026-11-01T01:15:00-05:00",
                Some("2026-11-01T01:30:00-05:00"),
            ),
        ] {
            let end = end_after(new_york(start, end), time);
            assert_eq!(end.as_deref(), expected, "{start} to {time}");
        }
    }

    #[test]
    fn rejects_invalid_values() {
        use InvalidQuietHours::{Empty, Time, TimeZone, TooLong};
        for (start, end, time_zone, expected) in [
            ("24:00", "08:00", "Asia/Tokyo", Time),
            ("22:60", "08:00", "Asia/Tokyo", Time),
            ("9:00", "08:00", "Asia/Tokyo", Time),
            (" 9:00", "10:00", "Asia/Tokyo", Time),
            ("22:00:00", "08:00", "Asia/Tokyo", Time),
            ("２２:00", "08:00", "Asia/Tokyo", Time),
            ("22:00", "", "Asia/Tokyo", Time),
            ("22:00", "08:00", "Tokyo", TimeZone),
            ("22:00", "08:00", "+09:00", TimeZone),
            ("22:00", "08:00", "", TimeZone),
            ("22:00", "22:00", "Asia/Tokyo", Empty),
            ("20:00", "08:01", "Asia/Tokyo", TooLong),
            ("08:00", "07:59", "Asia/Tokyo", TooLong),
        ] {
            assert_eq!(
                QuietHours::new(start, end, time_zone),
                Err(expected),
                "{start} {end} {time_zone}"
            );
        }
        assert!(QuietHours::new("20:00", "08:00", "UTC").is_ok());
        let unknown = json!({"start": "22:00", "end": "08:00", "time_zone": "UTC", "days": []});
        assert!(serde_json::from_value::<QuietHours>(unknown).is_err());
    }

    #[test]
    fn serialised_form_is_read_again() {
        let json = json!({"start": "22:00", "end": "08:05", "time_zone": "Europe/Berlin"});
        let quiet_hours: QuietHours = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(quiet_hours).unwrap(), json);
    }

    proptest! {
        /// The end is the first time that is not quiet, and at most an hour later than without a change of
        /// the clocks.
        #[test]
        fn end_is_never_in_quiet_hours(
            start in 0_i64..1440, length in 1_i64..=720, at in 1_760_000_000_i64..1_800_000_000,
            zone in prop::sample::select(vec!["Asia/Tokyo", "Europe/London", "Australia/Lord_Howe", "Asia/Kathmandu"]),
        ) {
            let text = |minutes: i64| format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60);
            let quiet_hours = QuietHours::new(&text(start), &text(start + length), zone).unwrap();
            let at = Timestamp::from_timestamp(at, 0).unwrap();
            if let Some(end) = quiet_hours.end_after(at) {
                prop_assert!(at < end && end - at <= TimeDelta::minutes(length + 60));
                prop_assert!(!quiet_hours.contains(end));
                prop_assert!(quiet_hours.contains(end - TimeDelta::seconds(1)));
            }
        }
    }
}
