//! Messages as they are on the wire, byte by byte: the other end is written in another language.

use penstock_dataplane::esp::sa::Spi;

use super::{add_sa, id};
use crate::ike::protocol::*;

const CHARON: Instance = Instance(0x1111_2222_3333_4444);

/// A frame from hexadecimal digits; spaces are for the eye.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// With a header of `kind` around it.
fn framed(kind: u8, status: u16, payload: &str) -> Vec<u8> {
    let payload = hex(payload);
    let mut frame = (payload.len() as u32 + 12).to_be_bytes().to_vec();
    frame.extend([1, kind]);
    frame.extend(status.to_be_bytes());
    frame.extend(hex("1111222233334444"));
    frame.extend(payload);
    frame
}

fn is_request(request: &Request, kind: u8, payload: &str) {
    let frame = framed(kind, 0, payload);
    assert_eq!(request.encode(CHARON).unwrap().as_slice(), frame);
    let (instance, read) = Request::decode(&frame).unwrap();
    assert_eq!((instance, &read), (CHARON, request));
}

const ID: &str = "04 1194 c000024d  04 1194 c6336401  c0000001 32";

#[test]
fn hello() {
    let hello = Hello { charon: "5.9.8".into(), plugin: "0.1".into() };
    is_request(&Request::Hello(hello), 1, "0005 352e392e38  0003 302e31");
}

#[test]
fn sync() {
    let installed = vec![Installed { inbound: true, id: id() }, Installed { inbound: false, id: id() }];
    is_request(&Request::Sync(installed), 2, &format!("00000002 01 {ID} 00 {ID}"));
    is_request(&Request::Sync(vec![]), 2, "00000000");
}

#[test]
fn get_spi() {
    let wanted =
        GetSpi { src: "[2001:db8::1]:500".parse().unwrap(), dst: "[2001:db8::2]:0".parse().unwrap() };
    let [one, two] = [1, 2].map(|last| format!("20010db8 00000000 00000000 0000000{last}"));
    is_request(&Request::GetSpi(wanted), 3, &format!("06 01f4 {one} 06 0000 {two} 32"));
}

#[test]
fn an_sa_with_all_it_has() {
    let key: String = b"sixteen byte keysalt".iter().map(|byte| format!("{byte:02x}")).collect();
    let six = "20010db8 00000000 00000000 0000";
    let payload = format!(
        "{ID} 15 00000007 02  0014 0014 {key}  0400 0000  00000040 \
         0000000000000f78 0000000000000e10  0000000000000000 0000000000000000 \
         0000010000000000 0000000000000000  00000000 0000 \
         0001 00 0000 ffff 04 0a000000 0a00ffff \
         0002 00 0000 ffff 04 00000000 ffffffff  00 0000 ffff 06 {six}0000 {six}ffff"
    );
    is_request(&Request::AddSa(Box::new(add_sa())), 4, &payload);
}

#[test]
fn the_other_requests() {
    let change = UpdateSa {
        id: id(),
        src: "192.0.2.78:1024".parse().unwrap(),
        dst: "198.51.100.1:4500".parse().unwrap(),
        encap: false,
        new_encap: true,
        new_reqid: 9,
    };
    let to = "04 0400 c000024e 04 1194 c6336401";
    is_request(&Request::UpdateSa(change), 5, &format!("{ID} {to} 00 01 00000009"));
    is_request(&Request::DelSa(id()), 6, ID);
    is_request(&Request::QuerySa(id()), 7, ID);
    is_request(&Request::FlushSas, 8, "");
    is_request(&Request::FlushPolicies, 11, "");
    let policy = PolicySpec {
        direction: Direction::Out,
        action: PolicyAction::Ipsec,
        mode: Mode::Tunnel,
        reqid: 7,
        spi: Some(Spi(0xc000_0001)),
        src: id().src,
        dst: id().dst,
        src_ts: add_sa().src_ts[0],
        dst_ts: TrafficSelectorSpec { protocol: 17, from_port: 53, to_port: 53, ..add_sa().dst_ts[0] },
    };
    let payload = "02 01 02 00000007 c0000001  04 1194 c000024d  04 1194 c6336401 \
                   00 0000 ffff 04 0a000000 0a00ffff  11 0035 0035 04 00000000 ffffffff";
    is_request(&Request::AddPolicy(policy), 9, payload);
    is_request(&Request::DelPolicy(policy), 10, payload);
    let any = PolicySpec { spi: None, ..policy };
    is_request(&Request::AddPolicy(any), 9, &payload.replace("c0000001", "00000000"));
}

#[test]
fn answers() {
    for (kind, status, payload, answer) in [
        (Kind::AddSa, 0, "", Answer::Done),
        (Kind::GetSpi, 0, "c0000001", Answer::Spi(Spi(0xc000_0001))),
        (
            Kind::QuerySa,
            0,
            "0000000000000100 0000000000000002 000000000000001e",
            Answer::Usage(Usage { bytes: 256, packets: 2, idle_s: Some(30) }),
        ),
        (
            Kind::QuerySa,
            0,
            "0000000000000000 0000000000000000 ffffffffffffffff",
            Answer::Usage(Usage::default()),
        ),
        (Kind::Sync, 0, &format!("00000001 {ID}"), Answer::Unknown(vec![id()])),
        (Kind::DelSa, 3, "0002 6e6f", Answer::Refused(Refused::new(ErrorCode::NotFound, "no"))),
    ] {
        let frame = framed(kind as u8, status, payload);
        assert_eq!(answer.encode(kind as u8, CHARON).unwrap().as_slice(), frame);
        assert_eq!(Answer::decode(&frame), Ok((CHARON, kind, answer)));
    }
}

#[test]
fn events() {
    let expire = Event::Expire { id: id(), hard: true };
    assert_eq!(expire.encode(CHARON).unwrap().as_slice(), framed(32, 0, &format!("{ID} 01")));
    let mapping = Event::Mapping { id: id(), remote: "192.0.2.99:4501".parse().unwrap() };
    let payload = format!("{ID} 04 1195 c0000263");
    assert_eq!(mapping.encode(CHARON).unwrap().as_slice(), framed(33, 0, &payload));
}

#[test]
fn what_is_wrong_is_named() {
    let error = |frame: &[u8]| Request::decode(frame).unwrap_err();
    let good = framed(8, 0, "");
    let with = |at: usize, byte: u8| {
        let mut frame = good.clone();
        frame[at] = byte;
        error(&frame)
    };
    assert_eq!(error(&good[..15]), DecodeError::Truncated("the header"));
    assert_eq!(with(3, 13), DecodeError::Length { stated: 13, found: 12 });
    assert_eq!(with(3, 11), DecodeError::Short(11));
    assert_eq!(with(0, 0xff), DecodeError::TooLong(0xff00_0010));
    assert_eq!(with(4, 2), DecodeError::Version(2));
    assert_eq!(with(4, 2).code(), ErrorCode::UnknownVersion);
    assert_eq!(with(5, 12), DecodeError::Kind(12));
    assert_eq!(with(5, 32), DecodeError::Kind(32), "an event");
    assert_eq!(with(7, 1), DecodeError::Value { field: "a request's status", found: 1 });
    assert_eq!(error(&framed(8, 0, "00")), DecodeError::Trailing(1));

    let del = |id: &str| error(&framed(6, 0, id));
    assert_eq!(
        del(&ID.replacen("04", "05", 1)),
        DecodeError::Family { field: "an SA's addresses", found: 5 }
    );
    let six = "06 0000 20010db8 00000000 00000000 00000001";
    assert_eq!(
        del(&format!("{six} 04 0000 c6336401 c0000001 32")),
        DecodeError::MixedFamilies("an SA's addresses")
    );
    assert_eq!(del(&ID.replace("32", "33")), DecodeError::Protocol(51));
    assert_eq!(del(&ID.replace("32", "33")).code(), ErrorCode::Refused);
    assert_eq!(del(&ID.replace("c0000001", "000000ff")), DecodeError::ReservedSpi(255));
    // More than there can be: refused before any memory is taken for it.
    assert_eq!(error(&framed(2, 0, "ffffffff")), DecodeError::Truncated("the list of SAs"));
    assert_eq!(error(&framed(1, 0, "0001 0a 0000")), DecodeError::Text("charon's version"));
    assert_eq!(error(&framed(1, 0, "0001 ff 0000")), DecodeError::Text("charon's version"));
}

#[test]
fn only_a_sync_may_be_large() {
    let many = |count| Request::Sync(vec![Installed { inbound: true, id: id() }; count]);
    let frame = many(5_000).encode(CHARON).unwrap();
    assert!(frame.len() > MAX_FRAME);
    assert_eq!(Request::decode(&frame).unwrap().1, many(5_000));
    assert_eq!(many(MAX_SYNC_FRAME / 20).encode(CHARON), Err(EncodeError));
    let selectors = vec![add_sa().src_ts[0]; MAX_FRAME / 14];
    assert_eq!(
        Request::AddSa(Box::new(AddSa { src_ts: selectors, ..add_sa() })).encode(CHARON),
        Err(EncodeError)
    );
    let long = Answer::Refused(Refused::new(ErrorCode::Internal, "ä".repeat(2000)));
    let Answer::Refused(cut) = Answer::decode(&long.encode(6, CHARON).unwrap()).unwrap().2 else { panic!() };
    assert_eq!(cut.reason, "ä".repeat(512));
}

#[test]
fn keys_are_never_shown() {
    let shown = format!("{:?}", Request::AddSa(Box::new(add_sa())));
    assert!(shown.contains("key: (20 bytes)"), "{shown}");
    assert!(!shown.contains("115, 105, 120"), "{shown}");
}
