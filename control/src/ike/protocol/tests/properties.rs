//! What is written is what was meant, and no bytes do harm.

use proptest::prelude::*;

use super::arbitrary::{any_answer, any_event, any_request};
use crate::ike::protocol::*;

const US: Instance = Instance(0x0123_4567_89ab_cdef);

proptest! {
    #[test]
    fn requests_come_back(request in any_request()) {
        let frame = request.encode(US).unwrap();
        prop_assert_eq!(Request::decode(&frame), Ok((US, request)));
    }

    #[test]
    fn answers_come_back((kind, answer) in any_answer()) {
        let frame = answer.encode(kind as u8, US).unwrap();
        prop_assert_eq!(Answer::decode(&frame), Ok((US, kind, answer)));
    }

    #[test]
    fn events_come_back(event in any_event()) {
        prop_assert_eq!(Event::decode(&event.encode(US).unwrap()), Ok((US, event)));
    }

    /// Cut anywhere, with its length put right: no beginning of a message is a message.
    #[test]
    fn a_beginning_is_refused(request in any_request()) {
        let frame = request.encode(US).unwrap();
        for end in 0..frame.len() {
            prop_assert!(Request::decode(&frame[..end]).is_err());
            if end >= Header::LEN {
                let mut cut = frame[..end].to_vec();
                cut[..4].copy_from_slice(&(end as u32 - 4).to_be_bytes());
                prop_assert!(Request::decode(&cut).is_err(), "{end} of {}", frame.len());
            }
        }
        let mut longer = frame.to_vec();
        longer.push(0);
        prop_assert!(Request::decode(&longer).is_err());
        longer[..4].copy_from_slice(&(frame.len() as u32 - 3).to_be_bytes());
        prop_assert_eq!(Request::decode(&longer), Err(DecodeError::Trailing(1)));
    }

    /// Whatever a flipped bit makes of it, if it is still a message then it is the one that is written so.
    #[test]
    fn every_message_has_one_form(request in any_request(), bit in any::<prop::sample::Index>()) {
        let mut frame = request.encode(US).unwrap();
        let bit = bit.index(frame.len() * 8);
        frame[bit / 8] ^= 1 << (bit % 8);
        if let Ok((instance, other)) = Request::decode(&frame) {
            let again = other.encode(instance).unwrap();
            prop_assert_eq!(again.as_slice(), frame.as_slice());
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(kind in 0_u8..40, bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut frame = vec![0, 0, 0, 0, VERSION, kind, 0, 0];
        frame.extend_from_slice(&[0; 8]);
        frame.extend_from_slice(&bytes);
        let counted = frame.len() as u32 - 4;
        frame[..4].copy_from_slice(&counted.to_be_bytes());
        let _ = Request::decode(&frame);
        let _ = Request::decode(&bytes);
        let _ = Answer::decode(&frame);
        let _ = Event::decode(&frame);
    }
}
