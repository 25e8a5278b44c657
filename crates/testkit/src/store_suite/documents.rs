//! Documents come back as they went in, under exactly the id they were given.

use kernel::document::{Key, Value};
use kernel::store::{Expect, Query};

use super::StoreFactory;
use super::fixture::{NOTES, batch, columns, get, ids, note, thing};

pub async fn versions_count_puts_and_start_again_after_a_delete(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    for (expect, version) in [
        (Expect::Absent, 1),
        (Expect::Version(1), 2),
        (Expect::Any, 3),
        (Expect::Any, 4),
        (Expect::Version(4), 5),
    ] {
        let document = format!("{{\"put\":{version}}}");
        batch()
            .put(thing("t"), &document, columns("o", version, "l"), expect)
            .commit(&store)
            .await;
        let stored = get(&store, thing("t")).await.expect("it was put");
        assert_eq!(
            (stored.version, &*stored.document),
            (u64::try_from(version).expect("positive"), &*document)
        );
    }
    batch().delete(thing("t"), Expect::Version(5)).commit(&store).await;
    assert_eq!(get(&store, thing("t")).await, None);
    batch().put_thing("t", Expect::Absent).commit(&store).await;
    assert_eq!(get(&store, thing("t")).await.expect("it was put").version, 1);
}

pub async fn documents_come_back_byte_for_byte(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let documents = [
        "null",
        "\"\"",
        "{}",
        r#"{"b":1,"a":2,"aa":3,"B":4,"":5}"#,
        r#"{"same":1,"same":2}"#,
        "{ \"spaced\" :\t[ 1 ,\r\n 2 ] }",
        "  {\"padded\": true}\n\n",
        r#"[1.0,1.00,-0,-0.0,1e2,1E+2,0.1e-7,12345678901234567890123,9007199254740993]"#,
        r#"{"text":"Zoë 🦀 \ud83e\udd80 \u00e9 é e\u0301 é ﷽ \u2028   ","escaped":"\/ \\ \" \b\f\n\r\t"}"#,
        "{\"👩‍👩‍👧‍👦\":\"𝔘𝔫𝔦𝔠𝔬𝔡𝔢\",\"\u{7f}\u{80}\u{feff}\u{fffd}\u{10ffff}\":\"'; DROP TABLE things; --\"}",
    ];
    for (number, document) in documents.iter().enumerate() {
        let id = format!("d{number}");
        let inserted = batch().put_note(&id, document, Expect::Absent);
        inserted
            .put(thing(&id), document, columns("o", 1, *document), Expect::Any)
            .commit(&store)
            .await;
        for key in [note(&id), thing(&id)] {
            assert_eq!(&*get(&store, key).await.expect("it was put").document, *document);
        }
        batch().put_note(&id, document, Expect::Version(1)).commit(&store).await;
        assert_eq!(&*get(&store, note(&id)).await.expect("it was put").document, *document);
    }
    let page = store
        .query(&Query::all(&NOTES, 100))
        .await
        .expect("the query is answered");
    let found: Vec<_> = page.iter().map(|found| &*found.stored.document).collect();
    assert_eq!(found, documents);
}

/// Ids that some collation, padding or normalisation would take for one another, in byte order.
pub(super) fn confusable() -> Vec<String> {
    let long = "x".repeat(64);
    let crabs = "🦀".repeat(64);
    let mut ids = [
        "",
        " ",
        "A",
        "A ",
        "AB",
        "Z",
        "a",
        "a ",
        "a  ",
        "a\t",
        "ab",
        "b",
        "ß",
        "ss",
        "é",
        "e\u{301}",
        "É",
        "ÿ",
        "%",
        "_",
        "'",
        "\"",
        "\\",
        "a%",
        "a_",
        "1",
        "01",
        "1.0",
        "sku:A",
        "sku:a",
        "Ａ",
        "İ",
        "ı",
        "i",
        "I",
        "🦀",
        "\u{feff}",
        "\u{10ffff}",
        &long,
        &crabs,
    ]
    .map(str::to_owned)
    .to_vec();
    ids.push(format!("sku:{}", "M".repeat(64)));
    ids.push(format!("sku:{}", "m".repeat(64)));
    ids.push(format!("sku:{crabs}"));
    ids.push(format!("{long} "));
    ids.sort();
    ids
}

pub async fn ids_compare_as_bytes(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let expected = confusable();
    for id in expected.iter().rev() {
        let document = serde_json::to_string(id).expect("text is JSON");
        batch().put_note(id, &document, Expect::Absent).commit(&store).await;
    }
    for id in &expected {
        let stored = get(&store, note(id)).await.expect("it was put");
        assert_eq!(*stored.document, *serde_json::to_string(id).expect("text is JSON"));
    }
    assert_eq!(ids(&store, &Query::all(&NOTES, 1000)).await, expected);
    let down = Query {
        descending: true,
        ..Query::all(&NOTES, 1000)
    };
    assert!(ids(&store, &down).await.iter().eq(expected.iter().rev()));
}

pub async fn a_mebibyte_of_document_comes_back(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let word = "пирог 🥧 ";
    let document = format!("\"{}\"", word.repeat((1 << 20) / word.len()));
    batch()
        .put(thing("big"), &document, columns("o", 1, Value::Null), Expect::Absent)
        .commit(&store)
        .await;
    batch()
        .put(
            thing("big"),
            &document,
            columns("o", 2, Value::Null),
            Expect::Version(1),
        )
        .commit(&store)
        .await;
    let stored = get(&store, thing("big")).await.expect("it was put");
    assert_eq!(stored.version, 2);
    assert!(*stored.document == *document, "a long document was changed");
}

pub async fn documents_are_given_in_the_order_of_their_keys(factory: &dyn StoreFactory) {
    let store = factory.open().await;
    let draft = batch().put_note("1", "1", Expect::Any).put_note("2", "2", Expect::Any);
    draft
        .put(thing("1"), "3", columns("o", 1, "l"), Expect::Any)
        .commit(&store)
        .await;

    let keys = [note("2"), thing("1"), thing("2"), note("1"), note("2")];
    let found = store.get(&keys).await.expect("the documents are read");
    let documents: Vec<_> = found
        .iter()
        .map(|stored| stored.as_ref().map(|stored| &*stored.document))
        .collect();
    assert_eq!(documents, [Some("2"), Some("3"), None, Some("1"), Some("2")]);
    assert_eq!(store.get(&[]).await.expect("nothing is read"), []);

    let many: Vec<_> = (0..2000).map(|number| note(&format!("{}", number % 4))).collect();
    let found = store.get(&many).await.expect("many keys are read");
    assert_eq!(found.iter().filter(|stored| stored.is_some()).count(), 1000);

    store
        .get(&[Key {
            collection: "unknown",
            id: "1".into(),
        }])
        .await
        .expect_err("there is no such collection");
}
