//! The long-poll: the next chat message, or 204 when none comes in time.

use std::time::Duration;

use http::StatusCode;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout};

use super::answers::{Answer, json, text};
use super::chat::{Room, Said};
use super::traffic::Traffic;
use crate::base::Shutdown;

/// Below the 30 s at which careful proxies and mobile networks give up on a silent answer.
const TIME: Duration = Duration::from_secs(20);

/// The answer to `GET /poll` and `GET /poll?after=7`: with the number of the last message seen, nothing
/// said between two polls is missed.
pub(super) async fn answer(query: Option<&str>, room: &Room, traffic: &Traffic, shutdown: &Shutdown) -> Answer {
    let after = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("after="));
    let Ok(after) = after.map(str::parse).transpose() else {
        return text(StatusCode::BAD_REQUEST, "after= wants the number of a message\n");
    };
    let started = Instant::now();
    let said = tokio::select! {
        said = timeout(TIME, next(room, after.unwrap_or_else(|| room.newest()))) => said.ok(),
        () = shutdown.draining() => None,
    };
    let waited = started.elapsed().as_secs_f32();
    if let Some(said) = said {
        traffic.tell("poll", format_args!("message {} after {waited:.1} s", said.id));
        json(said.json.as_bytes().to_vec())
    } else {
        traffic.tell("poll", format_args!("nothing in {waited:.1} s"));
        text(StatusCode::NO_CONTENT, "")
    }
}

async fn next(room: &Room, after: u64) -> Said {
    let (history, mut news) = room.listen(after);
    if let Some(said) = history.into_iter().next() {
        return said;
    }
    loop {
        match news.recv().await {
            Ok(said) => return said,
            Err(RecvError::Lagged(_)) => {}
            // The room lends itself to this call: it cannot go before.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;
    use http_body_util::BodyExt as _;

    async fn body(answer: Answer) -> String {
        let bytes = answer.into_body().collect().await.expect("cannot fail").to_bytes();
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_without_news_answers_204_after_its_time() {
        let (room, traffic, shutdown) = (Room::new(), Traffic::new(), Shutdown::new());
        room.say("ada", "before");
        let started = Instant::now();
        let answer = answer(None, &room, &traffic, &shutdown).await;
        assert_eq!(answer.status(), 204);
        assert_eq!(body(answer).await, "");
        assert_eq!(started.elapsed().as_secs(), TIME.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_answers_with_the_next_message_and_not_before() {
        let (room, traffic, shutdown) = (Room::new(), Traffic::new(), Shutdown::new());
        room.say("ada", "before");
        let (answer, ()) = tokio::join!(answer(None, &room, &traffic, &shutdown), async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            room.say("ada", "news");
        });
        assert_eq!(answer.status(), 200);
        assert!(body(answer).await.contains(r#""text":"news""#));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_said_between_two_polls_is_not_missed() {
        let (room, traffic, shutdown) = (Room::new(), Traffic::new(), Shutdown::new());
        for text in ["one", "two", "three"] {
            room.say("ada", text);
        }
        let started = Instant::now();
        let answer = answer(Some("x=1&after=1"), &room, &traffic, &shutdown).await;
        assert!(body(answer).await.contains(r#""text":"two""#));
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_poll_after_nonsense_gets_400_and_one_at_the_end_gets_204() {
        let (room, traffic, shutdown) = (Room::new(), Traffic::new(), Shutdown::new());
        assert_eq!(answer(Some("after=x"), &room, &traffic, &shutdown).await.status(), 400);
        shutdown.drain();
        assert_eq!(answer(None, &room, &traffic, &shutdown).await.status(), 204);
    }
}
