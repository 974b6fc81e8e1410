// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers as providers give them, cut everywhere and in every coding.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;

use super::{Messages, Reader, Tokens, Usage};
use crate::{
    coding::tests::{CODINGS, encoded, name_of},
    provider::Dialect,
};

/// An answer, and what it says.
struct Case {
    name: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
    model: &'static str,
    tokens: Tokens,
}

const JSON: &str = "application/json; charset=utf-8";
const SSE: &str = "text/event-stream";

const fn tokens(
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    reasoning: u64,
) -> Tokens {
    Tokens {
        input,
        output,
        cache_read,
        cache_write,
        reasoning,
    }
}

/// A message of an AWS event stream; the checksums are not looked at.
fn message(kind: &str, payload: &str) -> Vec<u8> {
    let mut headers = vec![11];
    headers.extend_from_slice(b":event-type\x07");
    headers.extend_from_slice(&u16::try_from(kind.len()).unwrap().to_be_bytes());
    headers.extend_from_slice(kind.as_bytes());
    let total = u32::try_from(12 + headers.len() + payload.len() + 4).unwrap();
    let mut bytes = total.to_be_bytes().to_vec();
    bytes.extend_from_slice(&u32::try_from(headers.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(b"\0\0\0\0");
    bytes.extend_from_slice(&headers);
    bytes.extend_from_slice(payload.as_bytes());
    bytes.extend_from_slice(b"\0\0\0\0");
    bytes
}

fn cases() -> Vec<Case> {
    let case = |name, content_type, body: &str, model, tokens| Case {
        name,
        content_type,
        body: body.as_bytes().to_vec(),
        model,
        tokens,
    };
    let mut cases = vec![
        case(
            "responses",
            JSON,
            r#"{"id":"resp_1","object":"response","status":"completed","model":"gpt-5-codex","output":[{"type":"message","content":[{"type":"output_text","text":"say \"usage\":{\"input_tokens\":9}} \\"}],"usage":{"input_tokens":7}}],"reasoning":{"effort":"low","summary":null},"usage":{"input_tokens":328,"input_tokens_details":{"cached_tokens":128},"output_tokens":52,"output_tokens_details":{"reasoning_tokens":32},"total_tokens":380},"metadata":{}}"#,
            "gpt-5-codex",
            tokens(200, 20, 128, 0, 32),
        ),
        case(
            "responses, streamed",
            SSE,
            concat!(
                "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"model\":\"gpt-5\",\"usage\":null}}\n\n",
                "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a [ { \\\" b\",\"logprobs\":[[],{}]}\n\n",
                "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"model\":\"gpt-5-2025-08-07\",\"usage\":{\"input_tokens\":37,\"input_tokens_details\":{\"cached_tokens\":0},\"output_tokens\":11,\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":48}}}\n\n",
            ),
            "gpt-5-2025-08-07",
            tokens(37, 11, 0, 0, 0),
        ),
        case(
            "chat completions, streamed",
            SSE,
            concat!(
                "data: {\"model\":\"gpt-4.1\",\"choices\":[{\"delta\":{\"content\":\"hi\"}}],\"usage\":null}\r\n\r\n",
                ": a comment\r\n\r\n",
                "data: {\"model\":\"gpt-4.1\",\"choices\":[],\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":10,\"total_tokens\":29,\"prompt_tokens_details\":{\"cached_tokens\":4,\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":6,\"accepted_prediction_tokens\":0}}}\r\n\r\n",
                "data: [DONE]\r\n\r\n",
            ),
            "gpt-4.1",
            tokens(15, 4, 4, 0, 6),
        ),
        case(
            "chat completions with the reasoning beside the output",
            JSON,
            r#"{"model":"grok","usage":{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,"completion_tokens_details":{"reasoning_tokens":94}}}"#,
            "grok",
            tokens(32, 9, 0, 0, 94),
        ),
        case(
            "embeddings",
            JSON,
            r#"{"object":"list","data":[{"embedding":[0.1,-2e-3],"index":0}],"model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}}"#,
            "text-embedding-3-small",
            tokens(8, 0, 0, 0, 0),
        ),
        case(
            "messages",
            JSON,
            r#"{"id":"msg_1","type":"message","model":"claude-sonnet-4-5","content":[{"type":"text","text":"é"}],"usage":{"input_tokens":10,"cache_creation_input_tokens":300,"cache_read_input_tokens":2000,"cache_creation":{"ephemeral_5m_input_tokens":300},"output_tokens":25,"service_tier":"standard"}}"#,
            "claude-sonnet-4-5",
            tokens(10, 25, 2000, 300, 0),
        ),
        case(
            "messages, streamed",
            SSE,
            concat!(
                "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude-opus-4-1\",\"usage\":{\"input_tokens\":25,\"cache_creation_input_tokens\":7,\"cache_read_input_tokens\":3,\"output_tokens\":1}}}\n\n",
                "event: ping\ndata: {\"type\": \"ping\"}\n\n",
                "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n",
                "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\n",
                "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":15}}\n\n",
                "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
            ),
            "claude-opus-4-1",
            tokens(25, 15, 3, 7, 0),
        ),
        case(
            "generateContent, streamed as events",
            SSE,
            concat!(
                "data: {\"candidates\":[{}],\"usageMetadata\":{\"promptTokenCount\":11,\"totalTokenCount\":31,\"thoughtsTokenCount\":20},\"modelVersion\":\"gemini-2.5-pro\"}\r\n\r\n",
                "data: {\"candidates\":[{}],\"usageMetadata\":{\"promptTokenCount\":11,\"cachedContentTokenCount\":5,\"candidatesTokenCount\":7,\"totalTokenCount\":48,\"promptTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":11}],\"thoughtsTokenCount\":30},\"modelVersion\":\"gemini-2.5-pro\"}\r\n\r\n",
            ),
            "gemini-2.5-pro",
            tokens(6, 7, 5, 0, 30),
        ),
        case(
            "generateContent, streamed as an array",
            JSON,
            "[{\"candidates\":[],\"usageMetadata\":{\"promptTokenCount\":4,\"thoughtsTokenCount\":2},\"modelVersion\":\"gemini-2.5-flash\"}\n,\r\n{\"usageMetadata\":{\"promptTokenCount\":4,\"candidatesTokenCount\":6}}]",
            "gemini-2.5-flash",
            tokens(4, 6, 0, 0, 0),
        ),
        case(
            "generateContent by lines, in an envelope",
            "application/x-ndjson",
            "{\"response\":{\"usageMetadata\":{\"promptTokenCount\":4},\"modelVersion\":\"g\"}}\n{\"response\":{\"usageMetadata\":{\"promptTokenCount\":4,\"candidatesTokenCount\":9,\"toolUsePromptTokenCount\":2}}}\n",
            "g",
            tokens(6, 9, 0, 0, 0),
        ),
        case(
            "converse",
            JSON,
            r#"{"metrics":{"latencyMs":5},"output":{"message":{"content":[{"text":"x"}]}},"model":"m","usage":{"inputTokens":30,"outputTokens":628,"totalTokens":658,"cacheReadInputTokens":4,"cacheWriteInputTokens":2}}"#,
            "m",
            tokens(30, 628, 4, 2, 0),
        ),
        case(
            "no content type",
            "",
            "\n{\"model\":\"m\",\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}",
            "m",
            tokens(1, 2, 0, 0, 0),
        ),
    ];
    let mut body = message("contentBlockDelta", r#"{"delta":{"text":"x"}}"#);
    body.extend(message("messageStop", ""));
    body.extend(message(
        "metadata",
        r#"{"model":"m","usage":{"inputTokens":3,"outputTokens":4,"totalTokens":7}}"#,
    ));
    cases.push(Case {
        name: "converse, streamed",
        content_type: "application/vnd.amazon.eventstream",
        body,
        model: "m",
        tokens: tokens(3, 4, 0, 0, 0),
    });
    let chunk = |document: &str| {
        let inside = STANDARD.encode(document).replace('/', "\\/");
        message("chunk", &format!(r#"{{"bytes":"{inside}","p":"abc"}}"#))
    };
    let mut body =
        chunk(r#"{"type":"message_start","message":{"model":"m","usage":{"input_tokens":3}}}"#);
    body.extend(message("chunk", r#"{"bytes":"%%%","p":"abc"}"#));
    body.extend(message("chunk", r#"{"bytes":"eyJ1c2"#));
    body.extend(chunk(
        r#"{"type":"message_stop","??>":"?>?","amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":5}}"#,
    ));
    cases.push(Case {
        name: "invoke, streamed",
        content_type: "application/vnd.amazon.eventstream",
        body,
        model: "m",
        tokens: tokens(3, 5, 0, 0, 0),
    });
    cases
}

fn read<'a>(
    case: &Case,
    coding: &str,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Option<Usage> {
    let mut reader = Reader::new(Dialect::Openai, case.content_type, name_of(coding)).unwrap();
    for piece in pieces {
        reader.push(piece);
    }
    reader.finish()
}

fn expected(case: &Case) -> Option<Usage> {
    Some(Usage {
        model: Some(case.model.to_owned()),
        tokens: case.tokens,
    })
}

#[test]
fn every_answer_is_read_wherever_it_is_cut_and_however_it_is_coded() {
    for case in cases() {
        for coding in CODINGS {
            let (bytes, _) = encoded(coding, &[], &case.body);
            for at in 0..=bytes.len() {
                let (before, behind) = bytes.split_at(at);
                let read = read(&case, coding, [before, behind]);
                assert_eq!(
                    read,
                    expected(&case),
                    "{}, {coding}, cut at {at}",
                    case.name
                );
            }
            let read = read(&case, coding, bytes.chunks(1));
            assert_eq!(read, expected(&case), "{}, {coding}, in bytes", case.name);
        }
    }
}

#[test]
fn an_answer_that_breaks_off_has_said_what_it_has_said() {
    let case = cases().remove(6);
    let end = case
        .body
        .windows(11)
        .rposition(|it| it == b"event: mess")
        .unwrap();
    let cut = &case.body[..end];
    assert_eq!(read(&case, "identity", [cut]), expected(&case));
    let start = case
        .body
        .windows(11)
        .position(|it| it == b"event: ping")
        .unwrap();
    let first = read(&case, "identity", [&case.body[..start]]).unwrap();
    assert_eq!(first.tokens, tokens(25, 1, 3, 7, 0));
    for coding in CODINGS {
        let (bytes, flushed) = encoded(coding, cut, b"more");
        let read = read(&case, coding, [&bytes[..flushed]]);
        assert_eq!(read, expected(&case), "{coding}");
    }
}

#[test]
fn what_is_no_account_is_not_read() {
    let json = |body: &str| {
        let mut reader = Reader::new(Dialect::Anthropic, JSON, "").unwrap();
        reader.push(body.as_bytes());
        reader.finish()
    };
    assert!(json(r#"{"usage":{"input_tokens":1}}"#).is_some());
    for body in [
        "",
        "{",
        r#"{"input_tokens":14}"#,
        r#"{"usage":null,"model":"m"}"#,
        r#"{"usage":[{"input_tokens":1}]}"#,
        r#"{"usage":{"input_tokens":"1"}}"#,
        r#"{"usage":{"input_tokens":-1}}"#,
        r#"{"usage":{"input_tokens":1.5}}"#,
        r#"{"output":{"usage":{"input_tokens":1}}}"#,
        r#"{"text":"{\"usage\":{\"input_tokens\":1}}"}"#,
        r#"{"choices":[{"usage":{"input_tokens":1}}]}"#,
        "<html>",
    ] {
        assert_eq!(json(body), None, "{body}");
    }
    assert!(Reader::new(Dialect::Other, JSON, "").is_none());
    assert!(Reader::new(Dialect::Openai, "image/png", "").is_none());
    assert!(Reader::new(Dialect::Openai, JSON, "compress").is_none());
    assert!(Reader::new(Dialect::Openai, JSON, "gzip, br").is_none());
    let mut reader = Reader::new(Dialect::Openai, JSON, "gzip").unwrap();
    reader.push(b"{\"usage\":{\"input_tokens\":1}}");
    assert_eq!(reader.finish(), None);
}

#[test]
fn depth_and_length_cost_nothing() {
    let mut reader = Reader::new(Dialect::Openai, JSON, "").unwrap();
    reader.push(b"{\"x\":");
    let (open, shut) = ([b'['; 4096], [b']'; 4096]);
    (0..1024).for_each(|_| reader.push(&open));
    reader.push(b"\"");
    (0..1024).for_each(|_| reader.push(&[b'{'; 4096]));
    reader.push(b"\"");
    (0..1024).for_each(|_| reader.push(&shut));
    reader.push(b",\"usage\":{\"prompt_tokens\":5,\"");
    reader.push(&[b'k'; 4096]);
    reader.push(b"\":1}}");
    assert_eq!(reader.finish().unwrap().tokens.input, 5);
    assert!(size_of::<Reader>() < 2048);
}

#[test]
fn each_message_with_an_account_is_one() {
    let mut messages = Messages::new();
    let mut ends = Vec::new();
    for text in [
        r#"{"type":"response.created","response":{"model":"gpt-5","usage":null}}"#,
        r#"{"type":"response.completed","response":{"model":"gpt-5","usage":{"input_tokens":3,"output_tokens":1}}}"#,
        r#"{"type":"broken","#,
        r#"{"type":"response.completed","response":{"usage":{"input_tokens":5,"output_tokens":2}}}"#,
    ] {
        text.as_bytes().chunks(7).for_each(|it| messages.push(it));
        ends.push(messages.end().map(|it| (it.model, it.tokens.input)));
    }
    let model = Some("gpt-5".to_owned());
    let expected = [None, Some((model.clone(), 3)), None, Some((model, 5))];
    assert_eq!(ends, expected);
}

proptest! {
    #[test]
    fn pieces_do_not_matter(
        which in 0..13_usize,
        coding in 0..CODINGS.len(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let case = cases().remove(which);
        let coding = CODINGS[coding];
        let (bytes, _) = encoded(coding, &[], &case.body);
        let mut cuts: Vec<_> = cuts.iter().map(|it| it.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|it| &bytes[it[0]..it[1]]);
        prop_assert_eq!(read(&case, coding, pieces), expected(&case));
    }

    #[test]
    fn nothing_that_is_read_harms(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        kind in prop::sample::select(vec![JSON, SSE, "application/vnd.amazon.eventstream", ""]),
        coding in prop::sample::select(vec!["", "gzip", "deflate", "br", "zstd"]),
        text in "[\\[\\]{}\":,0-9a-z \\\\\n]{0,200}",
    ) {
        for bytes in [&bytes, text.as_bytes()] {
            let mut reader = Reader::new(Dialect::Gemini, kind, coding).unwrap();
            reader.push(bytes);
            drop(reader.finish());
        }
    }
}
