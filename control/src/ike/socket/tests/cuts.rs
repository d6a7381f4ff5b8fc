//! Connections that break, at every byte of every message.

use super::*;

/// Sends the first bytes of a frame and goes.
async fn send_part(running: &Running, part: &[u8]) {
    let mut stream = running.connect().await;
    stream.write_all(part).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty(), "{} bytes", part.len());
}

#[tokio::test]
async fn a_part_of_a_request_does_nothing() {
    let running = Running::start();
    for request in requests().into_iter().chain([hello()]) {
        let frame = request.encode(CHARON).unwrap();
        for end in 0..frame.len() {
            send_part(&running, &frame[..end]).await;
        }
    }
    assert_eq!(running.kernel.calls(), [""; 0]);
    assert_eq!(running.ask(&Request::FlushSas).await, Answer::Done);
    running.stop().await;
}

#[tokio::test]
async fn a_request_is_done_though_nobody_waits_for_the_answer() {
    let running = Running::start();
    *running.kernel.wait.lock().unwrap() = true;
    let mut stream = running.connect().await;
    stream.write_all(&Request::AddSa(Box::new(add_sa())).encode(CHARON).unwrap()).await.unwrap();
    drop(stream);
    running.kernel.go_on.notify_one();
    running.calls(&["add_sa cccc"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_cut_conversation_is_noticed_once_and_begins_again() {
    let running = Running::start();
    let installed = Installed { inbound: true, id: id() };
    let sync = Request::Sync(vec![installed]).encode(CHARON).unwrap();
    let mut calls = Vec::new();
    for end in 0..sync.len() {
        let mut conversation = running.hello(CHARON).await;
        conversation.stream.write_all(&sync[..end]).await.unwrap();
        drop(conversation);
        calls.extend(["hello cccc", "gone cccc"]);
        running.calls(&calls).await;
    }
    let mut conversation = running.hello(CHARON).await;
    conversation.stream.write_all(&sync).await.unwrap();
    let answer = Answer::decode(&conversation.frame().await).unwrap().2;
    assert_eq!(answer, Answer::Unknown(vec![id()]));
    calls.extend(["hello cccc", "sync cccc"]);
    running.calls(&calls).await;
    running.stop().await;
}

/// The plugin may be cut off before it has read an event, or in the midst of it.
#[tokio::test]
async fn an_event_that_was_cut_is_sent_again() {
    let running = Running::start();
    running.events.send(CHARON, expire(false));
    let len = expire(false).encode(US).unwrap().len();
    for end in 0..=len {
        let mut conversation = running.hello(CHARON).await;
        conversation.sync().await;
        conversation.stream.read_exact(&mut vec![0; end]).await.unwrap();
    }
    let mut conversation = running.hello(CHARON).await;
    conversation.sync().await;
    assert_eq!(conversation.event().await, expire(false));
    running.stop().await;
}
