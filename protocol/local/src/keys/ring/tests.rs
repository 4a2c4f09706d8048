use proptest::prelude::*;

use super::*;

const A: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const B: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const C: &str = "ee0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn id(number: u8) -> KeyId {
    KeyId::new(number).unwrap()
}

fn line(line: usize, problem: LineProblem) -> RingError {
    RingError::Line { line, problem }
}

#[test]
fn comments_and_empty_lines_are_skipped_and_the_last_key_is_the_guests() {
    let text = format!("# of VM x\n\n7 {A}\n# the new one\n8 {}", B.to_uppercase());
    let ring = KeyRing::parse(text.as_bytes()).unwrap();
    assert_eq!((ring.ids().collect::<Vec<_>>(), ring.last()), (vec![id(7), id(8)], Some(id(8))));
    assert_eq!(ring.encode().as_slice(), format!("7 {A}\n8 {B}\n").as_bytes());
    let authentication = ring.authentication(Mode::Optional);
    assert_eq!(authentication.preferred().map(|(id, _)| id), Some(id(8)));
    assert_eq!(authentication.key(id(7)), ring.key(id(7)));
}

#[test]
fn every_other_form_is_refused_with_its_line() {
    let form = line(1, LineProblem::Form);
    for text in [
        format!("0 {A}"),
        format!("256 {A}"),
        format!("01 {A}"),
        format!("+1 {A}"),
        format!("1  {A}"),
        format!("1\t{A}"),
        format!(" 1 {A}"),
        format!("1 {A} "),
        format!("1 {A}\r\n"),
        format!("1 {A}0"),
        format!("1 {}", &A[1..]),
        format!("1 {}", A.replace('0', "g")),
        format!("1{A}"),
        format!("{A} 1"),
        A.to_owned(),
        "1".to_owned(),
        " ".to_owned(),
        "\u{e4}".to_owned(),
    ] {
        assert_eq!(KeyRing::parse(text.as_bytes()), Err(form), "{text:?}");
    }
    assert_eq!(KeyRing::parse(b"1 \xff"), Err(form));
    let twice = |text: String| KeyRing::parse(text.as_bytes()).unwrap_err();
    assert_eq!(twice(format!("1 {A}\n\n1 {B}\n")), line(3, LineProblem::SameId(id(1))));
    assert_eq!(twice(format!("1 {A}\n2 {A}\n")), line(2, LineProblem::SameKey(id(1))));
    assert_eq!(twice(format!("#\n1 {A}\n2 {B}\n3 {C}\n")), line(4, LineProblem::TooMany));
    for text in ["", "\n\n", "# 1\n"] {
        assert_eq!(KeyRing::parse(text.as_bytes()), Err(RingError::Empty));
    }
}

#[test]
fn two_keys_at_most_with_ids_of_their_own() {
    let (mut ring, key) = (KeyRing::default(), |text: &str| text.parse::<Key>().unwrap());
    assert_eq!((ring.next_id(), ring.last()), (id(1), None));
    ring.add(id(255), key(A)).unwrap();
    assert_eq!(ring.next_id(), id(1));
    assert_eq!(ring.add(id(255), key(B)), Err(AddError::SameId(id(255))));
    assert_eq!(ring.add(id(2), key(A)), Err(AddError::SameKey(id(255))));
    ring.add(id(1), key(B)).unwrap();
    assert_eq!(ring.add(id(9), key(C)), Err(AddError::Full([id(255), id(1)])));
    assert_eq!(ring.next_id(), id(2));
    assert_eq!(ring.remove(id(9)), Err(RemoveError(id(9))));
    ring.remove(id(255)).unwrap();
    assert_eq!((ring.ids().collect::<Vec<_>>(), ring.key(id(1))), (vec![id(1)], Some(&key(B))));
    ring.remove(id(1)).unwrap();
    assert!(ring.is_empty());
}

#[test]
fn neither_errors_nor_debug_show_a_key() {
    let ring = KeyRing::parse(format!("1 {A}\n").as_bytes()).unwrap();
    let error = KeyRing::parse(format!("1 {A}\n2 {A}\n").as_bytes()).unwrap_err();
    let text = format!("{ring:?} {error} {error:?}");
    assert!(!text.contains(&A[..8]) && text.contains("Key(..)"), "{text}");
}

fn rings() -> impl Strategy<Value = KeyRing> {
    prop::collection::vec((1u8.., any::<[u8; 32]>()), 1..=KEYS_MAXIMUM).prop_map(|keys| {
        let mut ring = KeyRing::default();
        for (number, bytes) in keys {
            // Equal ids or keys are left out: never all of them.
            let _ = ring.add(id(number), Key::from_bytes(bytes));
        }
        ring
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(ring in rings()) {
        let text = ring.encode();
        prop_assert!(text.len() <= KEYS_MAXIMUM * LINE_BYTES);
        prop_assert_eq!(text.capacity(), KEYS_MAXIMUM * LINE_BYTES, "growing would leave a copy behind");
        prop_assert_eq!(KeyRing::parse(&text), Ok(ring));
    }

    #[test]
    fn anything_is_read_or_refused(text: Vec<u8>) {
        if let Ok(ring) = KeyRing::parse(&text) {
            prop_assert!(!ring.is_empty());
        }
    }

    /// A file that lost its end has no other key than it had: one digit less is no key.
    #[test]
    fn a_cut_file_has_no_wrong_key(ring in rings(), cut in any::<prop::sample::Index>()) {
        let text = ring.encode();
        if let Ok(read) = KeyRing::parse(&text[..cut.index(text.len())]) {
            for id in read.ids() {
                prop_assert_eq!(read.key(id), ring.key(id));
            }
        }
    }

    #[test]
    fn a_next_id_is_always_free(ring in rings()) {
        prop_assert_eq!(ring.key(ring.next_id()), None);
    }
}
