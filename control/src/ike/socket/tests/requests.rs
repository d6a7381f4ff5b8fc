//! Requests and their answers.

use penstock_dataplane::esp::sa::Spi;

use super::*;

const CALLS: [&str; 9] = [
    "get_spi cccc",
    "add_sa cccc",
    "update_sa cccc",
    "del_sa cccc",
    "query_sa cccc",
    "flush_sas cccc",
    "add_policy cccc",
    "del_policy cccc",
    "flush_policies cccc",
];

#[tokio::test]
async fn each_reaches_the_kernel_and_is_answered() {
    let running = Running::start();
    for request in requests() {
        let expected = match request.kind() {
            Kind::GetSpi => Answer::Spi(Spi(0xc000_0001)),
            Kind::QuerySa => Answer::Usage(Usage { bytes: 1, packets: 2, idle_s: None }),
            _ => Answer::Done,
        };
        assert_eq!(running.ask(&request).await, expected, "{:?}", request.kind());
    }
    running.calls(&CALLS).await;
    running.stop().await;
}

#[tokio::test]
async fn a_refusal_is_told_in_words() {
    let running = Running::start();
    let refused = Refused::new(ErrorCode::Refused, "tunnel acme/dc1: transport mode is not supported");
    *running.kernel.refuse.lock().unwrap() = Some(refused.clone());
    for request in requests() {
        assert_eq!(running.ask(&request).await, Answer::Refused(refused.clone()));
    }
    running.stop().await;
}

#[tokio::test]
async fn many_at_once_do_not_wait_for_each_other() {
    let running = Running::start();
    *running.kernel.wait.lock().unwrap() = true;
    let slow = Request::AddSa(Box::new(add_sa())).encode(CHARON).unwrap();
    let mut waiting = running.connect().await;
    waiting.write_all(&slow).await.unwrap();
    assert_eq!(running.ask(&Request::FlushPolicies).await, Answer::Done);
    running.calls(&["flush_policies cccc"]).await;
    running.kernel.go_on.notify_one();
    let mut answer = Vec::new();
    waiting.read_to_end(&mut answer).await.unwrap();
    assert_eq!(Answer::decode(&answer).unwrap().2, Answer::Done);
    running.stop().await;
}

#[tokio::test]
async fn a_fault_of_ours_ends_one_connection_only() {
    let running = Running::start();
    let fault = Request::QuerySa(SaId { spi: Spi(666), ..id() });
    assert!(running.send(&fault.encode(CHARON).unwrap()).await.is_empty());
    assert_eq!(running.ask(&Request::DelSa(id())).await, Answer::Done);
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_request_is_answered_with_what_is_wrong() {
    let running = Running::start();
    let good = Request::FlushSas.encode(CHARON).unwrap();
    let with = |at: usize, byte: u8| {
        let mut frame = good.to_vec();
        frame[at] = byte;
        frame
    };
    let sync = Request::Sync(vec![]).encode(CHARON).unwrap().to_vec();
    for (frame, kind, code, reason) in [
        (with(4, 2), 8, ErrorCode::UnknownVersion, "version 2"),
        (with(5, 200), 200, ErrorCode::Malformed, "type 200"),
        (with(5, 32), 32, ErrorCode::Malformed, "type 32"),
        (with(7, 1), 8, ErrorCode::Malformed, "status"),
        (with(3, 11), 8, ErrorCode::Malformed, "11 bytes"),
        (with(1, 1), 8, ErrorCode::Malformed, "too many"),
        (with(0, 255), 8, ErrorCode::Malformed, "too many"),
        (sync, 2, ErrorCode::Malformed, "type 2 is unknown here"),
    ] {
        let answer = running.send(&frame).await;
        // The type may be none of ours, so not by `Answer::decode`.
        assert_eq!((answer[4], answer[5]), (VERSION, kind), "{reason}");
        assert_eq!(answer[6..8], (code as u16).to_be_bytes(), "{reason}");
        let text = String::from_utf8_lossy(&answer[18..]).into_owned();
        assert!(text.contains(reason), "{text}");
    }
    running.calls(&[]).await;
    running.stop().await;
}
