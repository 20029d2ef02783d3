//! A `tracing` layer that writes each event as one line of JSON.
//!
//! The JSON formatter of `tracing-subscriber` parses and serialises the fields of all enclosing spans again
//! for every event. This layer serialises them once, when they are recorded.

use std::{error::Error, fmt, io::Write};

use serde::{Serialize, Serializer as _};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    fmt::{
        MakeWriter,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::Context,
    registry::LookupSpan,
};

/// Writes each event as one line to `W`, with a single write: several processes may share the output, and
/// their lines must not mix.
pub struct JsonLinesLayer<W>(pub W);

/// A JSON object without its closing brace. Each span stores one in its extensions.
struct JsonObjectBuffer(Vec<u8>);

impl<S, W> Layer<S> for JsonLinesLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut object = JsonObjectBuffer::default();
        attributes.record(&mut object);
        span.extensions_mut().insert(object);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(object) = span.extensions_mut().get_mut::<JsonObjectBuffer>() {
            values.record(object);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut time = String::new();
        // Writing to a string cannot fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let mut line = JsonObjectBuffer::default();
        line.write_field("timestamp", &time);
        line.write_field("level", event.metadata().level().as_str());
        event.record(&mut line);
        line.write_field("target", event.metadata().target());
        if let Some(scope) = context.event_scope(event) {
            line.write_key("spans");
            let mut separator = b'[';
            for span in scope.from_root() {
                line.0.push(separator);
                match span.extensions().get() {
                    Some(JsonObjectBuffer(members)) => line.0.extend_from_slice(members),
                    None => line.0.push(b'{'),
                }
                line.write_field("name", span.name());
                line.0.push(b'}');
                separator = b',';
            }
            line.0.push(b']');
        }
        line.0.extend_from_slice(b"}\n");
        // A log that cannot be written cannot be reported anywhere.
        let _ = self.0.make_writer_for(event.metadata()).write_all(&line.0);
    }
}

impl Default for JsonObjectBuffer {
    fn default() -> Self {
        let mut buffer = Vec::with_capacity(256);
        buffer.push(b'{');
        Self(buffer)
    }
}

impl JsonObjectBuffer {
    fn write_key(&mut self, name: &str) {
        if self.0.last() != Some(&b'{') {
            self.0.push(b',');
        }
        self.write_value(name);
        self.0.push(b':');
    }

    fn write_value(&mut self, value: impl Serialize) {
        serde_json::to_writer(&mut self.0, &value).expect("strings and numbers always serialise to memory");
    }

    fn write_field(&mut self, name: &str, value: impl Serialize) {
        self.write_key(name);
        self.write_value(value);
    }
}

impl Visit for JsonObjectBuffer {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.write_field(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write_field(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write_field(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write_field(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.write_field(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write_key(field.name());
        serde_json::Serializer::new(&mut self.0)
            .collect_str(&format_args!("{value:?}"))
            .expect("a string always serialises to memory");
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// The bytes of each `write` call.
    #[derive(Clone, Default)]
    struct RecordedWrites(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for RecordedWrites {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(bytes.to_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `log` logs, without their timestamps. Asserts one write and one line break per line.
    fn logged_lines(log: impl FnOnce()) -> Vec<Value> {
        let writes = RecordedWrites::default();
        let output = writes.clone();
        let subscriber = tracing_subscriber::registry().with(JsonLinesLayer(move || output.clone()));
        tracing::subscriber::with_default(subscriber, log);
        let writes = writes.0.lock().unwrap();
        writes
            .iter()
            .map(|line| {
                let text = str::from_utf8(line).unwrap();
                assert_eq!(text.find('\n'), Some(text.len() - 1));
                let mut line: Value = serde_json::from_str(text).unwrap();
                let time = line.as_object_mut().unwrap().remove("timestamp").unwrap();
                assert!(time.as_str().unwrap().ends_with('Z'));
                line
            })
            .collect()
    }

    #[test]
    fn writes_fields_and_spans_from_the_outermost() {
        let lines = logged_lines(|| {
            let _outer = tracing::info_span!("request", trace_id = "0af7", route = None::<&str>).entered();
            let _inner = tracing::info_span!("empty").entered();
            tracing::info!(
                status = 200_u16,
                share = 0.5,
                delta = -1,
                cached = true,
                "answered"
            );
        });
        let expected = json!({
            "level": "INFO", "message": "answered", "status": 200, "share": 0.5, "delta": -1, "cached": true,
            "target": module_path!(), "spans": [{"trace_id": "0af7", "name": "request"}, {"name": "empty"}],
        });
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn fields_recorded_later_appear_in_later_lines() {
        let lines = logged_lines(|| {
            let span = tracing::info_span!("message", trace_id = tracing::field::Empty).entered();
            tracing::warn!("before");
            span.record("trace_id", "0af7");
            tracing::warn!("after");
        });
        assert_eq!(lines[0]["spans"], json!([{"name": "message"}]));
        assert_eq!(
            lines[1]["spans"],
            json!([{"trace_id": "0af7", "name": "message"}])
        );
    }

    #[test]
    fn escapes_line_breaks_and_json_in_values() {
        let text = "no\",\"level\":\"ERROR\"}\n{\"level\":\"ERROR\"\u{1b}[2J\u{2028}";
        let error = io::Error::other(text);
        let lines = logged_lines(|| {
            let _span = tracing::info_span!("request", method = %text).entered();
            tracing::info!(name = text, shown = %text, error = &error as &(dyn Error + 'static), "refused");
        });
        let line = &lines[0];
        assert_eq!(line["level"], "INFO");
        for value in [
            &line["name"],
            &line["shown"],
            &line["error"],
            &line["spans"][0]["method"],
        ] {
            assert_eq!(value, text);
        }
    }

    #[test]
    fn event_outside_spans_has_no_spans_field() {
        let lines = logged_lines(|| tracing::error!("alone"));
        assert_eq!(
            lines,
            [json!({"level": "ERROR", "message": "alone", "target": module_path!()})]
        );
    }
}
