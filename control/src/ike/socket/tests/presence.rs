//! charon's connection, and what it is told on it.

use super::*;

#[tokio::test]
async fn events_follow_the_sync() {
    let running = Running::start();
    running.events.send(CHARON, expire(false));
    let mut conversation = running.hello(CHARON).await;
    // An event in between would be taken for the answer.
    conversation.sync().await;
    assert_eq!(conversation.event().await, expire(false));
    running.events.send(CHARON, expire(true));
    running.events.send(Instance(1), expire(true));
    assert_eq!(conversation.event().await, expire(true));
    conversation.sync().await;
    running.calls(&["hello cccc", "sync cccc", "sync cccc"]).await;
    running.stop().await;
    conversation.is_closed().await;
}

#[tokio::test]
async fn what_charon_has_not_dealt_with_is_told_again() {
    let running = Running::start();
    running.events.send(CHARON, expire(false));
    for _ in 0..2 {
        let mut conversation = running.hello(CHARON).await;
        conversation.sync().await;
        assert_eq!(conversation.event().await, expire(false));
    }
    assert_eq!(running.ask(&Request::DelSa(id())).await, Answer::Done);
    let mapping = Event::Mapping { id: id(), remote: "192.0.2.1:4501".parse().unwrap() };
    running.events.send(CHARON, mapping);
    let mut conversation = running.hello(CHARON).await;
    conversation.sync().await;
    assert_eq!(conversation.event().await, mapping, "the SA of the expiry is gone");
    let end = id().dst;
    let change = UpdateSa { id: id(), src: end, dst: end, encap: true, new_encap: true, new_reqid: 0 };
    assert_eq!(running.ask(&Request::UpdateSa(change)).await, Answer::Done);
    running.events.send(CHARON, expire(true));
    assert_eq!(running.ask(&Request::AddSa(Box::new(add_sa()))).await, Answer::Done);
    running.events.send(CHARON, mapping);
    assert_eq!(running.ask(&Request::FlushSas).await, Answer::Done);
    let last = Event::Expire { id: SaId { dst: "198.51.100.2:1".parse().unwrap(), ..id() }, hard: false };
    running.events.send(CHARON, last);
    let mut conversation = running.hello(CHARON).await;
    conversation.sync().await;
    assert_eq!(conversation.event().await, last, "all others are dealt with");
    running.stop().await;
}

#[tokio::test]
async fn the_same_charon_may_come_back_before_it_was_missed() {
    let running = Running::start();
    let mut first = running.hello(CHARON).await;
    first.sync().await;
    let mut second = running.hello(CHARON).await;
    first.is_closed().await;
    second.sync().await;
    running.calls(&["hello cccc", "sync cccc", "hello cccc", "sync cccc"]).await;
    drop(second);
    running.calls(&["hello cccc", "sync cccc", "hello cccc", "sync cccc", "gone cccc"]).await;
    running.stop().await;
}

#[tokio::test]
async fn another_charon_takes_over() {
    let running = Running::start();
    running.events.send(CHARON, expire(true));
    let mut old = running.hello(CHARON).await;
    let mut new = running.hello(Instance(0xdddd)).await;
    old.is_closed().await;
    new.sync().await;
    running.calls(&["hello cccc", "gone cccc", "hello dddd", "sync dddd"]).await;
    running.events.send(Instance(0xdddd), expire(false));
    assert_eq!(new.event().await, expire(false), "the other event was for the other charon");
    running.stop().await;
}

#[tokio::test]
async fn who_is_not_welcome_is_not_missed() {
    let running = Running::start();
    let refused = Refused::new(ErrorCode::NotReady, "not yet");
    *running.kernel.refuse.lock().unwrap() = Some(refused.clone());
    let mut early = Conversation { stream: running.connect().await, charon: CHARON };
    assert_eq!(early.ask(&hello()).await, Answer::Refused(refused.clone()));
    early.is_closed().await;
    *running.kernel.refuse.lock().unwrap() = None;
    let mut conversation = running.hello(CHARON).await;
    *running.kernel.refuse.lock().unwrap() = Some(refused.clone());
    assert_eq!(conversation.ask(&Request::Sync(vec![])).await, Answer::Refused(refused));
    conversation.is_closed().await;
    running.calls(&["hello cccc", "hello cccc", "sync cccc", "gone cccc"]).await;
    running.stop().await;
}

#[tokio::test]
async fn only_a_sync_follows_a_hello() {
    let running = Running::start();
    let mut conversation = running.hello(CHARON).await;
    let answer = conversation.ask(&Request::FlushSas).await;
    assert!(matches!(answer, Answer::Refused(Refused { code: ErrorCode::Malformed, .. })), "{answer:?}");
    conversation.is_closed().await;
    running.calls(&["hello cccc", "gone cccc"]).await;
    running.stop().await;
}

/// More than an ordinary frame holds: 1000 tunnels in the midst of a rekey.
#[tokio::test]
async fn a_sync_may_be_large() {
    let running = Running::start();
    let mut conversation = running.hello(CHARON).await;
    let installed = vec![Installed { inbound: true, id: id() }; 4000];
    let answer = conversation.ask(&Request::Sync(installed)).await;
    assert_eq!(answer, Answer::Unknown(vec![id(); 4000]));
    running.stop().await;
}
