//! Any bytes as messages between charon's plugin and control.

use penstock_control::ike::protocol::{Answer, Event, Request};

/// A message or an error, never a panic; and what is a message has no other form than these bytes. The input is a
/// type, the low byte of a status, and what follows a header; and, for headers, a whole frame.
pub fn charon_request(data: &[u8]) {
    check(data);
    if let [kind, status, payload @ ..] = data {
        let counted = (payload.len() as u32).saturating_add(12);
        let mut frame = counted.to_be_bytes().to_vec();
        frame.extend([1, *kind, 0, *status]);
        frame.extend([0x11; 8]);
        frame.extend(payload);
        check(&frame);
    }
}

fn check(frame: &[u8]) {
    if let Ok((instance, request)) = Request::decode(frame) {
        if let Request::AddSa(sa) = &request
            && let Err(reason) = sa.keys()
        {
            assert!(!reason.to_string().is_empty());
        }
        let again = request.encode(instance).expect("it came from a frame");
        assert_eq!(again.as_slice(), frame);
    }
    if let Ok((instance, kind, answer)) = Answer::decode(frame) {
        let again = answer.encode(kind as u8, instance).expect("it came from a frame");
        assert_eq!(again.as_slice(), frame);
    }
    if let Ok((instance, event)) = Event::decode(frame) {
        let again = event.encode(instance).expect("it came from a frame");
        assert_eq!(again.as_slice(), frame);
    }
}
