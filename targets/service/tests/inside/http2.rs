//! HTTP/2 against nginx, without TLS and within it.

use super::*;

/// nginx that gives up each connection after twenty requests; `listen` is what stands behind the port.
fn settings(listen: &str) -> serde_json::Value {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {{data}}/{name}; "))
        .concat();
    let text = format!(
        "daemon off; pid {{data}}/pid; error_log stderr; worker_processes 1; events {{}} http {{ access_log off; \
         keepalive_requests 20; {temporary} server {{ listen 127.0.0.1:{{port}} {listen}; \
         location / {{ return 200 \"hello\\n\"; }} location /none {{ return 404; }} \
         location /echo {{ return 201 \"$content_length $http_x_key\"; }} }} }}"
    );
    json!({ "start": "nginx -p {data} -c {data}/nginx.conf", "files": { "nginx.conf": text } })
}

fn workload(more: serde_json::Value) -> serde_json::Value {
    let mut workload = json!({
        "protocol": "http",
        "http": "2",
        "ready": { "http": "/" },
        "parameters": { "key": { "uniform": { "from": 100, "to": 999 } } },
        "operations": {
            "hello": { "send": "GET /{key}", "expect": { "equals": "hello\n" } },
            "none": { "send": "GET /none" },
            "put": {
                "send": "PUT /echo", "body": "{key}", "headers": { "X-Key": "k{key}" },
                "expect": { "status": [201], "matches": "^3 k[1-9][0-9][0-9]$" },
            },
        },
    });
    workload.as_object_mut().unwrap().extend(table(more));
    workload
}

/// Everything succeeds, although the service closes each connection after twenty requests; then several streams at once.
fn asks(target: &dyn Target) {
    for outcome in operate(target, 300) {
        let wanted = if outcome.kind == 1 { OutcomeKind::NoOp(0) } else { OutcomeKind::Ok };
        assert_eq!(outcome.result, wanted, "{outcome:?}: {}", target.drain().unwrap().detail);
    }
    let mut client = target.client(1, 5).unwrap_or_else(|error| panic!("{error}"));
    for _ in 0..4 {
        let outcome = client.operate(Batch { operations: 10 });
        assert_eq!((outcome.units, outcome.result), (10, OutcomeKind::Ok), "{}", target.drain().unwrap().detail);
    }
}

#[test]
fn http2_is_spoken_in_the_clear() {
    if !has("nginx", "nginx") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let target = opened(folder.path(), workload(json!({})), settings("http2"));
    asks(target.as_ref());
    target.quiesce().unwrap();
    target.close().unwrap();
}

#[test]
fn http2_is_agreed_on_within_tls() {
    let folder = TempDir::new().unwrap();
    let Some((key, certificate)) = certificate(folder.path()) else { return };
    if !has("nginx", "nginx") {
        return;
    }
    let (key, certificate) = (key.display(), certificate.display());
    let listen =
        |version: &str| settings(&format!("ssl{version}; ssl_certificate {certificate}; ssl_certificate_key {key}"));
    let trusted = json!({ "tls": { "on": true, "ca": certificate.to_string() } });
    let target = opened(&folder.path().join("agreed"), workload(trusted.clone()), listen(" http2"));
    asks(target.as_ref());
    drop(target);
    let said = refused(&folder.path().join("old"), workload(trusted), listen(""));
    assert!(said.contains("does not speak HTTP/2"), "{said}");
    let said = refused(&folder.path().join("untrusted"), workload(json!({ "tls": { "on": true } })), listen(" http2"));
    assert!(said.contains("the certificate is not trusted"), "{said}");
}

#[test]
fn a_service_that_speaks_something_else_is_said() {
    if !has("nginx", "nginx") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let short = json!({ "ready": { "http": "/", "timeout": "300ms" } });
    let said = refused(folder.path(), workload(short), settings(""));
    assert!(said.contains("HTTP/2"), "{said}");
    let wrong = json!({ "service": "redis", "http": "2", "operations": { "ping": { "send": "PING" } } });
    let said = FACTORY.validate(&table(wrong), &Table::new()).unwrap_err().to_string();
    assert!(said.contains("is for `protocol = \"http\"`"), "{said}");
}
