//! What happens, line by line.

use control::{Client, Event};

use crate::Problem;
use crate::format::{plain, timestamp, write};

pub(crate) async fn run(client: Client, json: bool) -> Result<(), Problem> {
    let mut monitor = client.monitor().await?;
    loop {
        let event = monitor.next().await?;
        write(line(&event, json)?.as_bytes())?;
    }
}

fn line(event: &Event, json: bool) -> Result<String, Problem> {
    Ok(if json {
        serde_json::to_string(event).map_err(std::io::Error::from)? + "\n"
    } else {
        format!("{} {}\n", timestamp(event.time), plain(&event.what.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use control::{How, What};

    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let what = What::Started {
            connection: "office".into(),
            how: How::Resumed,
            remote: "192.0.2.1:500".into(),
        };
        let event = Event { time: 1.5, what };
        assert_eq!(
            line(&event, false).unwrap(),
            "1970-01-01T00:00:01.500Z office: resumption with 192.0.2.1:500 begins\n"
        );
        assert_eq!(
            line(&event, true).unwrap(),
            "{\"time\":1.5,\"event\":\"started\",\"connection\":\"office\",\"how\":\"resumed\",\
             \"remote\":\"192.0.2.1:500\"}\n"
        );
    }
}
