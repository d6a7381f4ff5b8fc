//! Clients that do not keep to the rules.

use std::time::Instant;

use penstock_dataplane::esp::sa::Spi;

use super::*;

fn impatient() -> Limits {
    Limits { patience: Duration::from_millis(300), ..Limits::default() }
}

#[tokio::test]
async fn a_slow_client_is_given_up() {
    let running = Running::start_with(impatient());
    let frame = Request::FlushSas.encode(CHARON).unwrap();
    for end in [0, 1, frame.len() - 1] {
        let begun = Instant::now();
        let mut stream = running.connect().await;
        stream.write_all(&frame[..end]).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty());
        assert!(begun.elapsed() >= Duration::from_millis(300));
    }
    // A byte now and then does not help: the time is for the whole.
    let mut stream = running.connect().await;
    let mut sent = 0;
    for byte in frame.iter() {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        sent += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(sent < frame.len(), "{sent}");
    running.calls(&[]).await;
    running.stop().await;
}

#[tokio::test]
async fn who_says_hello_and_no_more_is_given_up() {
    let running = Running::start_with(impatient());
    let mut conversation = running.hello(CHARON).await;
    conversation.is_closed().await;
    running.calls(&["hello cccc", "gone cccc"]).await;
    let mut conversation = running.hello(CHARON).await;
    conversation.sync().await;
    // After it, silence is what is expected.
    tokio::time::sleep(Duration::from_millis(500)).await;
    running.events.send(CHARON, expire(false));
    assert_eq!(conversation.event().await, expire(false));
    running.stop().await;
}

#[tokio::test]
async fn events_that_are_not_taken_wait_for_the_next_connection() {
    const MANY: u32 = 20_000;
    let running = Running::start_with(impatient());
    let mut deaf = running.hello(CHARON).await;
    deaf.sync().await;
    let event = |n| Event::Expire { id: SaId { spi: Spi(0x1000 + n), ..id() }, hard: false };
    (0..MANY).for_each(|n| running.events.send(CHARON, event(n)));
    running.calls(&["hello cccc", "sync cccc", "gone cccc"]).await;
    let mut conversation = running.hello(CHARON).await;
    conversation.sync().await;
    for n in 0..MANY {
        assert_eq!(conversation.event().await, event(n));
    }
    running.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_bound_wait() {
    let running = Running::start_with(Limits { connections: 2, ..impatient() });
    // Waits for events, and takes no place.
    let mut conversation = running.hello(CHARON).await;
    conversation.sync().await;
    let begun = Instant::now();
    let _idle = [running.connect().await, running.connect().await];
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(running.ask(&Request::FlushSas).await, Answer::Done);
    assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
    running.stop().await;
}

#[tokio::test]
async fn another_user_gets_no_word() {
    let running = Running::start_with(Limits { is_trusted: |_| false, ..Limits::default() });
    for request in requests().into_iter().chain([hello()]) {
        let mut stream = running.connect().await;
        // It may be gone before that.
        let _ = stream.write_all(&request.encode(CHARON).unwrap()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
    }
    running.calls(&[]).await;
    running.stop().await;
}

/// The user id is that of who connects, as the kernel says it.
#[tokio::test]
async fn the_owner_is_known_by_his_user_id() {
    let running = Running::start_with(Limits {
        is_trusted: |uid| uid == nix::unistd::geteuid().as_raw(),
        ..Limits::default()
    });
    assert_eq!(running.ask(&Request::FlushSas).await, Answer::Done);
    running.stop().await;
}

#[tokio::test]
async fn a_stop_answers_what_is_under_way_and_then_nobody() {
    let running = Running::start();
    *running.kernel.wait.lock().unwrap() = true;
    let mut under_way = running.connect().await;
    under_way.write_all(&Request::AddSa(Box::new(add_sa())).encode(CHARON).unwrap()).await.unwrap();
    // Its turn comes after this one's.
    assert_eq!(running.ask(&Request::FlushPolicies).await, Answer::Done);
    let kernel = Arc::clone(&running.kernel);
    let stopping = tokio::spawn(running.stop());
    tokio::time::sleep(Duration::from_millis(20)).await;
    kernel.go_on.notify_one();
    let mut answer = Vec::new();
    under_way.read_to_end(&mut answer).await.unwrap();
    assert_eq!(Answer::decode(&answer).unwrap().2, Answer::Done);
    stopping.await.unwrap();
    assert_eq!(kernel.calls(), ["flush_policies cccc", "add_sa cccc"]);
}
