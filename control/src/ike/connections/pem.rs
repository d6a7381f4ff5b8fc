//! Certificates out of a file: one in DER, or any number in PEM (RFC 7468).

use data_encoding::BASE64;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The certificates of a file in DER, in its order. What they say is charon's to read.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    if is_der(bytes) {
        return Ok(vec![bytes.to_vec()]);
    }
    let Ok(text) = str::from_utf8(bytes) else { return Err("is neither PEM nor DER") };
    let mut certificates = Vec::new();
    for block in text.split(BEGIN).skip(1) {
        let Some((body, _)) = block.split_once(END) else {
            return Err("ends in the middle of a certificate");
        };
        let body: String = body.split_ascii_whitespace().collect();
        let der = BASE64.decode(body.as_bytes()).ok().filter(|der| is_der(der));
        certificates.push(der.ok_or("has a certificate that is damaged")?);
    }
    if certificates.is_empty() { Err("holds no certificate") } else { Ok(certificates) }
}

/// Whether bytes are one DER sequence, as certificates and keys are: tag, length in the long form, that many bytes.
pub(super) fn is_der(bytes: &[u8]) -> bool {
    match bytes {
        [0x30, 0x81, length, rest @ ..] => rest.len() == usize::from(*length),
        [0x30, 0x82, high, low, rest @ ..] => rest.len() == usize::from(u16::from_be_bytes([*high, *low])),
        [0x30, length @ ..=0x7f, rest @ ..] => rest.len() == usize::from(*length),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(der: &[u8]) -> String {
        format!("{BEGIN}\r\n{}\r\n{END}\n", BASE64.encode(der))
    }

    #[test]
    fn der_and_pem_are_read() {
        let (one, two) = ([0x30, 3, 1, 2, 3].to_vec(), [&[0x30, 0x81, 0x80][..], &[7; 0x80]].concat());
        assert_eq!(certificates(&one), Ok(vec![one.clone()]));
        let text = format!("bag attributes\n{}between\n{}", pem(&one), pem(&two));
        assert_eq!(certificates(text.as_bytes()), Ok(vec![one.clone(), two]));
        assert_eq!(certificates(&pem(&one).as_bytes()[..40]), Err("ends in the middle of a certificate"));
        assert_eq!(certificates(pem(&one[..4]).as_bytes()), Err("has a certificate that is damaged"));
        assert_eq!(certificates(b"-----BEGIN PRIVATE KEY-----"), Err("holds no certificate"));
        assert_eq!(certificates(&[0x30, 3, 1, 2, 0xff, 0]), Err("is neither PEM nor DER"));
        assert_eq!(certificates(b""), Err("holds no certificate"));
    }
}
