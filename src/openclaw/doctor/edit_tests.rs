use serde_json::json;

use super::*;

fn path(text: &str) -> Vec<String> {
    text.split('.').map(str::to_owned).collect()
}

/// Sets, reads both with the real parser, and compares.
fn changed(text: &str, at: &str, value: &Value) -> String {
    let new = set(text, &path(at), value).expect("a text that can be changed");
    let mut expected: Value = json5::from_str(text).expect("the text before");
    let mut place = &mut expected;
    for key in at.split('.') {
        place = &mut place[key];
    }
    *place = value.clone();
    let read: Value = json5::from_str(&new).unwrap_or_else(|error| panic!("{error}: {new}"));
    assert_eq!(read, expected, "{new}");
    new
}

#[test]
fn a_value_is_replaced_and_nothing_around_it_moves() {
    let text = "{\n  // who may connect\n  gateway: { bind: 'lan', /* why */ port: 1 }, // end\n}\n";
    let expected = "{\n  // who may connect\n  gateway: { bind: \"loopback\", /* why */ port: 1 }, // end\n}\n";
    assert_eq!(changed(text, "gateway.bind", &json!("loopback")), expected);
}

#[test]
fn a_key_is_added_where_its_neighbours_are_and_comments_stay_with_theirs() {
    let text = "{\n  a: {\n    mode: \"off\", // because\n  },\n}\n";
    let expected = "{\n  a: {\n    mode: \"off\", // because\n    \"backend\": \"clawjail\",\n  },\n}\n";
    assert_eq!(changed(text, "a.backend", &json!("clawjail")), expected);
    let text = "{\n  a: {\n    mode: \"off\" // because\n  }\n}\n";
    let expected = "{\n  a: {\n    mode: \"off\", // because\n    \"backend\": \"clawjail\"\n  }\n}\n";
    assert_eq!(changed(text, "a.backend", &json!("clawjail")), expected);
    assert_eq!(changed("{ a: 1 }", "b", &json!(2)), "{ a: 1, \"b\": 2 }");
}

#[test]
fn what_is_missing_on_the_way_is_made() {
    let made = changed("{\n  \"a\": 1\n}\n", "b.c.d", &json!([true]));
    assert!(made.starts_with("{\n  \"a\": 1,\n  \"b\": {"), "{made}");
    changed("{}", "a.b", &json!({ "c": 1 }));
    changed("{ /* nothing yet */ }", "a", &json!(1));
    changed("{ // nothing yet\n}", "a", &json!(1));
}

#[test]
fn every_way_of_writing_is_understood() {
    for text in [
        "{a:{b:1}}",
        "{'a':{'b':1,},}",
        "\u{feff}{ a: { b: .5e1, c: +Infinity, d: 0xFF, e: 'it\\'s', f: \"a\\\nb\" } }",
        "{ \"a\": { \"b\": \"}{][,:\" } }",
        "{ a: { b: [1, [2, { c: '//' }], ], x: '/*' } }",
        "{ /* { */ a /* : */ : // {\n { b: null } }",
        "{ a: 1, a: { b: 2 } }",
        "{ a: {\tb: -1\t}\u{a0}}",
        "{ a: { b: 1 // last\n } }",
        "{ a: { z: 1 /* x */ , /* y */ } }",
        "{\r\n  a: {\r\n    b: 1\r\n  }\r\n}\r\n",
        "{ a: { \"\\u0062\": 1 } }",
    ] {
        changed(text, "a.b", &json!("new"));
        changed(text, "a.other", &json!({ "x": [1] }));
        changed(text, "zz.y", &json!(false));
    }
}

#[test]
fn what_cannot_be_understood_is_not_changed() {
    for text in ["", "{", "{ a }", "{ a: 1 b: 2 }", "{ a: 'x }", "{ /* }", "{ a: 1 } }", "{ : 1 }", "{ a: [1 2] }"] {
        assert!(set(text, &path("a"), &json!(1)).is_err(), "{text}");
    }
    assert!(set("{ a: 1 }", &path("a.b"), &json!(1)).is_err());
    assert!(outline(&"[".repeat(1_000_000)).is_err());
}
