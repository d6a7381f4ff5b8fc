//! Whole ESP packets and their parts from RFCs and drafts.

use ::hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::*;
use crate::esp::suite::{Encryption, Integrity};

/// One packet under an AEAD.
struct Aead {
    key: &'static str,
    nonce: &'static str,
    aad: &'static str,
    text: &'static str,
    sealed: &'static str,
    icv: &'static str,
}

/// draft-mcgrew-gcm-test-01 section 4, without its one 192-bit key. The associated data is an SPI and a sequence
/// number of 32 or 64 bits.
const GCM_IN_ESP: &[Aead] = &[
    Aead {
        key: "4c80cdefbb5d10da906ac73c3613a634",
        nonce: "2e443b684956ed7e3b244cfe",
        aad: "000043218765432100000000",
        text: "45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000\
               00000000045f736970045f756470037369700963796265726369747902646b00\
               0021000101020201",
        sealed: "fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34\
                 cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff6247aeabb786b93bce\
                 61bc17d768fd9732",
        icv: "459018148f6cbe722fd04796562dfdb4",
    },
    Aead {
        key: "feffe9928665731c6d6a8f9467308308",
        nonce: "cafebabefacedbaddecaf888",
        aad: "0000a5f80000000a",
        text: "4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d00100\
               0001000000000000037369700963796265726369747902646b00000100010001",
        sealed: "deb22cd9b07c72c16e3a65beeb8df304a5a5897d33ae530f1ba76d5d114d2a5c\
                 3de81827c10e9a4f51330d0eec416642cfbb85a5b47e48a4ec3b9ba95d918bd1",
        icv: "83b70d3aa8bc6ee4c309e9d85a41ad4a",
    },
    Aead {
        key: "abbccddef00112233445566778899aababbccddef00112233445566778899aab",
        nonce: "112233440102030405060708",
        aad: "4a2cbfe300000002",
        text: "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee000000000\
               7002400020bf0000020405b40101040201020201",
        sealed: "ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763\
                 748a637985771d347f0545659f14e99def842d8e",
        icv: "b335f4eecfdbf831824b4c4915956c96",
    },
    Aead {
        key: "00000000000000000000000000000000",
        nonce: "000000000000000000000000",
        aad: "0000000000000001",
        text: "4500003c99c500008001cb7a40679318010101010800075c0200440061626364\
               65666768696a6b6c6d6e6f707172737475767761626364656667686901020201",
        sealed: "4688daf2f973a392732909c331d56d60f694abaa414b5e7ff5fdcdfff5e9a284\
                 456476492719ffb64de7d9dca1e1d894bc3bd57873ed4d181d19d4d5c8c18af3",
        icv: "f821d496eeb096e98ad2b69e4799c71d",
    },
    Aead {
        key: "3de09874b388e6491988d0c3607eae1f",
        nonce: "57690e434e280000a2fca1a3",
        aad: "42f67e3f1010101010101010",
        text: "4500003c99c300008001cb7c40679318010101010800085c0200430061626364\
               65666768696a6b6c6d6e6f707172737475767761626364656667686901020201",
        sealed: "fba2caa4853cf9f0f22cb10d86dd83b0fec75691cf1a04b00d1138ec9c357917\
                 65acbd8701ad79845bf9fe3fba487bc91755e6662b4c8d0d1f5e22739530320a",
        icv: "e0d731cc978ecafaeae88f00e80d6e48",
    },
    Aead {
        key: "3de09874b388e6491988d0c3607eae1f",
        nonce: "57690e434e280000a2fca1a3",
        aad: "42f67e3f1010101010101010",
        text: "4500001c42a200008001441f406793b6e00000020a00f5ff01020201",
        sealed: "fba2ca845e5df9f0f22c3e6e86dd831e1fc65792cd1af9130e1379ed",
        icv: "369f071f35e034be95f112e4e7d05d35",
    },
    Aead {
        key: "abbccddef00112233445566778899aab",
        nonce: "decaf888cafedebaceface74",
        aad: "000001000000000000000001",
        text: "4500004933ba00007f119106c3fb1d10c2b1d326c02831ce0035dd7b800302d5\
               00004e20001e8c18d75b81dc91baa0476b91b924b280389d92c963bac046ec95\
               9b6266c04722b14923010101",
        sealed: "18a6fd42f72cbf4ab2a2ea901f73d814e3e7f243d95412e1c349c1d2fbec168f\
                 9190feebaf2cb01984e65863965d7472b79da345e0e780191f0d2f0e0f496c22\
                 6f2127b27db35724e7845d68",
        icv: "651f57e65f354f75ff17015769623436",
    },
    Aead {
        key: "abbccddef00112233445566778899aababbccddef00112233445566778899aab",
        nonce: "73616c74616e640169766563",
        aad: "17405e67156f3126dd0db99b",
        text: "45080028732c00004006e9f90a0106120a01038f06b88023dd6bafbecb712602\
               50101f646d540001",
        sealed: "f2d69ecdbd5a0d5b8d5ef38bad4da58d1f278fde98ef67549d524a3018d9a57f\
                 f4d3a31ce673119e",
        icv: "451626c2415771e3b7eebca614c89b35",
    },
    Aead {
        key: "3de09874b388e6491988d0c3607eae1f",
        nonce: "57690e434e280000a2fca1a3",
        aad: "42f67e3f1010101010101010",
        text: "45000049333e00007f119182c3fb1d10c2b1d326c02831ce0035cb458003025b\
               000001e0001e8c18d65759d52284a0352c71475c8880391c764d6e5ee0496b32\
               5ae270c03899493915010101",
        sealed: "fba2cad12fc1f9f00d3cebf305410db83d7784b607323d220f24b0a97d541828\
                 00cadb0f68d99ef0e0c0c89ae9bea8884e52d65bc1afd0740f742444747b5b39\
                 ab533163aad4550ee5160975",
        icv: "cdb608c5769189609763b8e18caa81e2",
    },
    Aead {
        key: "abbccddef00112233445566778899aababbccddef00112233445566778899aab",
        nonce: "73616c74616e640169766563",
        aad: "17405e67156f3126dd0db99b",
        text: "636973636f0172756c657301746865016e6574776501646566696e6501746865\
               746563686e6f6c6f67696573017468617477696c6c01646566696e65746f6d6f\
               72726f7701020201",
        sealed: "d4b7ed86a1777f2ea13d6973d324c69e7b43f826fb56831226508bebd2dceb18\
                 d0a6df10e5487df074113e14c641024e3e6773d91a62ee429b043a10e3efe6b0\
                 12a49363412364f8",
        icv: "c0cac587f249e56b11e24f30e44ccc76",
    },
    Aead {
        key: "7d773d00c144c525ac619d18c84a3f47",
        nonce: "d966426743457e9182443bc6",
        aad: "335467aeffffffff",
        text: "01020201",
        sealed: "437f866b",
        icv: "cb3f699fe9b0822bac961c4504bef270",
    },
    Aead {
        key: "abbccddef00112233445566778899aab",
        nonce: "decaf888cafedebaceface74",
        aad: "000001000000000000000001",
        text: "746f016265016f72016e6f7401746f0162650001",
        sealed: "29c9fc69a197d038ccdd14e2ddfcaa0543332164",
        icv: "412503524303ed3c6c5f283843af8c3e",
    },
    Aead {
        key: "6c6567616c697a656d6172696a75616e61616e64646f69746265666f72656961",
        nonce: "7475726e333021696765746d",
        aad: "796b6963ffffffffffffffff",
        text: "45000030da3a00008001df3bc0a80005c0a800010800c6cd0200070061626364\
               65666768696a6b6c6d6e6f707172737401020201",
        sealed: "f97ab2aa356d8edce17644ac8c78e25dd24dedbb29ebf1b64a274b39b49c3a86\
                 4cd3d78ca4ae68a32b42458fb57dbe821dcc63b9",
        icv: "d0937ba2945f669368661a329fb4c053",
    },
];

/// RFC 7634 appendix A: an ICMP echo request in tunnel mode.
const CHACHA_IN_ESP: Aead = Aead {
    key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
    nonce: "a0a1a2a31011121314151617",
    aad: "0102030400000005",
    text: "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10\
           0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223\
           2425262728292a2b2c2d2e2f303132333435363701020204",
    sealed: "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6\
             14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3\
             cbec163fac469b502773f6fb94e664da9165b82829f641e0",
    icv: "76aaa8266b7fb0f7b11b369907e1ad43",
};

fn check_aead(suite: Suite, vector: &Aead) {
    let (nonce, aad) = (hex(vector.nonce), hex(vector.aad));
    let keys = [hex(vector.key), nonce[..4].to_vec()].concat();
    let keys = KeyMaterial::new(suite, &keys, &[]).unwrap();
    let (header, high) = match aad.len() {
        8 => (aad.clone(), None),
        _ => ([&aad[..4], &aad[8..]].concat(), Some(u32::from_be_bytes(aad[4..8].try_into().unwrap()))),
    };
    let wire = [header.clone(), nonce[4..].to_vec(), hex(vector.sealed), hex(vector.icv)].concat();
    for way in ways() {
        let cipher = way.cipher(suite, &keys);
        let mut engine = way.engine();
        let mut esp = [header.clone(), vec![0; 8], hex(vector.text), vec![0; 16]].concat();
        let iv = u64::from_be_bytes(nonce[4..].try_into().unwrap());
        assert!(seal(&mut engine, &cipher, &mut esp, high, iv), "{way}");
        assert_eq!(esp, wire, "{way}");
        let mut look = [0; 64];
        let text = hex(vector.text);
        assert_eq!(cipher.peek(&esp, &mut look), &text[..text.len().min(64)]);
        assert!(open(&mut engine, &cipher, &mut esp, high), "{way}");
        assert_eq!(payload_of(suite, &esp), text, "{way}");
        let mut other = wire.clone();
        assert!(!open(&mut engine, &cipher, &mut other, high.map_or(Some(0), |_| None)), "{way}");
    }
}

/// The cases with IVs of 96 bits of McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, as submitted to
/// NIST: 2 to 4 and 14 to 16. 1 and 13 have no text, which no ESP packet lacks.
const GCM_OF_NIST: &[Aead] = &[
    Aead {
        key: "00000000000000000000000000000000",
        nonce: "000000000000000000000000",
        aad: "",
        text: "00000000000000000000000000000000",
        sealed: "0388dace60b6a392f328c2b971b2fe78",
        icv: "ab6e47d42cec13bdf53a67b21257bddf",
    },
    Aead {
        key: "feffe9928665731c6d6a8f9467308308",
        nonce: "cafebabefacedbaddecaf888",
        aad: "",
        text: "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
               1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
        sealed: "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
                 21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985",
        icv: "4d5c2af327cd64a62cf35abd2ba6fab4",
    },
    Aead {
        key: "feffe9928665731c6d6a8f9467308308",
        nonce: "cafebabefacedbaddecaf888",
        aad: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        text: "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
               1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        sealed: "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
                 21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
        icv: "5bc94fbc3221a5db94fae95ae7121a47",
    },
    Aead {
        key: "0000000000000000000000000000000000000000000000000000000000000000",
        nonce: "000000000000000000000000",
        aad: "",
        text: "00000000000000000000000000000000",
        sealed: "cea7403d4d606b6e074ec5d3baf39d18",
        icv: "d0d1c8a799996bf0265b98b5d48ab919",
    },
    Aead {
        key: "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        nonce: "cafebabefacedbaddecaf888",
        aad: "",
        text: "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
               1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
        sealed: "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                 8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
        icv: "b094dac5d93471bdec1a502270e3cc6c",
    },
    Aead {
        key: "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        nonce: "cafebabefacedbaddecaf888",
        aad: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        text: "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
               1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        sealed: "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                 8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        icv: "76fc6ece0f4e1768cddf8853bb2d551b",
    },
];

#[test]
fn gcm_of_nist() {
    for vector in GCM_OF_NIST {
        let suite = if vector.key.len() == 32 { Suite::AES128_GCM } else { Suite::AES256_GCM };
        let nonce: [u8; 12] = hex(vector.nonce).try_into().unwrap();
        let keys = [hex(vector.key), nonce[..4].to_vec()].concat();
        let keys = KeyMaterial::new(suite, &keys, &[]).unwrap();
        for way in ways() {
            let cipher = way.cipher(suite, &keys);
            let mut engine = way.engine();
            let (aad, mut text) = (hex(vector.aad), hex(vector.text));
            let icv = aead_seal(&mut engine, &cipher, nonce, &aad, &mut text).unwrap();
            assert_eq!((&text, &icv[..]), (&hex(vector.sealed), &hex(vector.icv)[..]), "{way}");
            assert_eq!(aead_open(&mut engine, &cipher, nonce, &aad, &mut text, icv), Some(true), "{way}");
            assert_eq!(text, hex(vector.text), "{way}");
        }
    }
}

#[test]
fn gcm_in_esp() {
    for vector in GCM_IN_ESP {
        let suite = if vector.key.len() == 32 { Suite::AES128_GCM } else { Suite::AES256_GCM };
        check_aead(suite, vector);
    }
}

#[test]
fn chacha_in_esp() {
    check_aead(Suite::CHACHA20_POLY1305, &CHACHA_IN_ESP);
}

/// RFC 3602 section 4, cases 5 to 8: ESP packets without an ICV, to which we add ours. Next header and bytes of
/// padding are the last two of the payload.
#[test]
fn cbc_in_esp() {
    let suite = Suite::new(Encryption::AesCbc128, Some(Integrity::HmacSha256)).unwrap();
    let mac_key = [0x77; 32];
    for (key, packet, payload, trailer) in [
        (
            "90d382b410eeba7ad938c46cec1a82bf",
            "0000432100000001e96e8c08ab465763fd098d45dd3ff893f663c25d325c18c6\
             a9453e194e120849a4870b66cc6b9965330013b4898dc856a4699e523a55db08\
             0b59ec3a8e4b7e52775b07d1db34ed9c538ab50c551b874aa269add047ad2d59\
             13ac19b7cfbad4a6",
            "08000ebda70a00008e9c083db95b070008090a0b0c0d0e0f1011121314151617\
             18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637",
            [14, 1],
        ),
        (
            "90d382b410eeba7ad938c46cec1a82bf",
            "000043210000000869d08df7d203329db093fc4924e5bd80f51995881ec4e0c4\
             488987ce742e8109689bb379d2d750c0d915dca346a89f75",
            "0800b5e8a80a0500a69c083d0b660e00777777777777777777777777",
            [2, 1],
        ),
        (
            "0123456789abcdef0123456789abcdef",
            "0000876500000002f4e765244f6407adf13dc1380f673f37773b5241a4c44922\
             5e4f3ce5ed611b0c237ca96cf74a93013c1b0ea1a0cf70f8e4ecaec78ac53aad\
             7a0f022b859243c647752e94a859352b8a4d4d2decd136e5c177f132ad3fbfb2\
             201ac9904c74ee0a109e0ca1e4dfe9d5a100b842f1c22f0d",
            "45000054090400004001f988c0a87b03c0a87bc808009f76a90a0100b49c083d\
             02a2040008090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223\
             2425262728292a2b2c2d2e2f3031323334353637",
            [10, 4],
        ),
        (
            "0123456789abcdef0123456789abcdef",
            "000087650000000585d47224b5f3dd5d2101d4ea8dffab2215b92683819596a8\
             047232cc00f7048fe45318e11f8a0f62ede3c3fc61203bb50f980a08c9843fd3\
             a1b06d5c07ff9639b7eb7dfb3512e5de435e7207ed971ef3d2726d9b5ef6affc\
             6d17a0decbb13892",
            "45000044090c00004001f990c0a87b03c0a87bc80800d63caa0a0200c69c083d\
             a3de0300ffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
             ffffffff",
            [10, 4],
        ),
    ] {
        let keys = KeyMaterial::new(suite, &hex(key), &mac_key).unwrap();
        let mut wire = hex(packet);
        let mac = Hmac::<Sha256>::new_from_slice(&mac_key).unwrap().chain_update(&wire);
        wire.extend(&mac.finalize().into_bytes()[..16]);
        for way in ways() {
            let cipher = way.cipher(suite, &keys);
            let mut look = [0; 64];
            assert_eq!(cipher.peek(&wire, &mut look)[..28], hex(payload)[..28], "{way}");
            let mut esp = wire.clone();
            assert!(open(&mut way.engine(), &cipher, &mut esp, None), "{way}");
            let opened = payload_of(suite, &esp);
            assert!(opened.starts_with(&hex(payload)) && opened.ends_with(&trailer), "{way}");
        }
    }
}

/// RFC 3602 section 4, cases 1 to 4: without a packet around them, so that only a look can show them.
#[test]
fn cbc_blocks() {
    let suite = Suite::new(Encryption::AesCbc128, Some(Integrity::HmacSha1)).unwrap();
    for (key, iv, sealed, text) in [
        (
            "06a9214036b8a15b512e03d534120006",
            "3dafba429d9eb430b422da802c9fac41",
            "e353779c1079aeb82708942dbe77181a",
            b"Single block msg".to_vec(),
        ),
        (
            "c286696d887c9aa0611bbb3e2025a45a",
            "562e17996d093d28ddb3ba695a2e6f58",
            "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
            (0x00..=0x1f).collect(),
        ),
        (
            "6c3ea0477630ce21a2ce334aa746c2cd",
            "c782dc4c098c66cbd9cd27d825682c81",
            "d0a02b3836451753d493665d33f0e8862dea54cdb293abc7506939276772f8d5021c19216bad525c8579695d83ba2684",
            b"This is a 48-byte message (exactly 3 AES blocks)".to_vec(),
        ),
        (
            "56e47a38c5598974bc46903dba290349",
            "8ce82eefbea0da3c44699ed7db51b7d9",
            "c30e32ffedc0774e6aff6af0869f71aa0f3af07a9a31a9c684db207eb0ef8e4e\
             35907aa632c3ffdf868bb7b29d3d46ad83ce9f9a102ee99d49a53e87f4c3da55",
            (0xa0..=0xdf).collect(),
        ),
    ] {
        let keys = KeyMaterial::new(suite, &hex(key), &[0; 20]).unwrap();
        let cipher = Cipher::new(suite, &keys, Backend::RustCrypto).unwrap();
        let wire = [vec![0; HEADER_LEN], hex(iv), hex(sealed), vec![0; 12]].concat();
        assert_eq!(cipher.peek(&wire, &mut [0; 64]), text);
    }
}

/// The HMACs over a packet that NULL leaves as it is (RFC 2410 section 3): RFC 2202 section 3 (SHA-1, cut to 96
/// bits) and RFC 4868 section 2.7.2.
#[test]
fn hmac_over_null() {
    use Integrity::{HmacSha1, HmacSha256, HmacSha384, HmacSha512};
    let count = |len: u8| (1..=len).collect::<Vec<u8>>();
    let nothing = b"what do ya want for nothing?".to_vec();
    for (integrity, key, data, icv) in [
        (HmacSha1, vec![0xaa; 20], vec![0xdd; 50], "125d7342b9ac11cd91a39af4"),
        (HmacSha256, b"Jefe".repeat(8), nothing.clone(), "167f928588c5cc2eef8e3093caa0e87c"),
        (HmacSha256, vec![0xaa; 32], vec![0xdd; 50], "cdcb1220d1ecccea91e53aba3092f962"),
        (HmacSha256, count(32), vec![0xcd; 50], "372efcf9b40b35c2115b1346903d2ef4"),
        (HmacSha384, b"Jefe".repeat(12), nothing.clone(), "2c7353974f1842fd66d53c452ca42122b28c0b594cfb184d"),
        (HmacSha384, vec![0xaa; 48], vec![0xdd; 50], "809f439be00274321d4a538652164b53554a508184a0c316"),
        (
            HmacSha512,
            b"Jefe".repeat(16),
            nothing,
            "cb370917ae8a7ce28cfd1d8f4705d6141c173b2a9362c15df235dfb251b15454",
        ),
        (
            HmacSha512,
            vec![0xaa; 64],
            vec![0xdd; 50],
            "2ee7acd783624ca9398710f3ee05ae41b9f9b0510c87e49e586cc9bf961733d8",
        ),
        (
            HmacSha512,
            count(64),
            vec![0xcd; 50],
            "5e6688e5a3daec826ca32eaea224eff5e700628947470e13ad01302561bab108",
        ),
    ] {
        let suite = Suite::new(Encryption::Null, Some(integrity)).unwrap();
        let keys = KeyMaterial::new(suite, &[], &key).unwrap();
        // Once all of it in the packet, once the last four bytes as a high half that is not sent.
        for high in [None, data.last_chunk().map(|last| u32::from_be_bytes(*last))] {
            let sent = &data[..data.len() - if high.is_some() { 4 } else { 0 }];
            for way in ways() {
                let cipher = way.cipher(suite, &keys);
                let mut engine = way.engine();
                let mut esp = [sent, &vec![0; suite.icv_len()]].concat();
                assert!(seal(&mut engine, &cipher, &mut esp, high, 1), "{way} {suite}");
                assert_eq!(esp, [sent, &hex(icv)].concat(), "{way} {suite}");
                assert!(open(&mut engine, &cipher, &mut esp, high), "{way} {suite}");
                assert_eq!(&esp[..sent.len()], sent);
            }
        }
    }
}
