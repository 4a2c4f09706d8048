use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use vmpulse_local::command::{SocketFile, bind_socket};
use vmpulse_local::monitor_answer::{Condition, Hears, VmAnswer};

use super::*;
use crate::endpoint::QUESTIONS_MAXIMUM;
use crate::endpoint::client::{Place, ask, ask_vm};

/// Long enough for a loaded machine; a test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(30);
const VM: &str = "61be20f0-09a8-4753-b5e5-564f8a545ed5";

fn condition(trunk_heard: bool) -> Condition {
    Condition {
        host_monitor: "5ac3e0dc-13fc-4221-9617-8ef61c4cdd83".to_owned(),
        trunk: "trunkA-hm".to_owned(),
        incarnation: "i".to_owned(),
        mode: "GLOBAL".to_owned(),
        trunk_heard,
        isolated: !trunk_heard,
        blind: false,
        removed: false,
    }
}

/// A server with somebody who answers as the loop does; it counts the copies it was asked for.
struct Served {
    folder: tempfile::TempDir,
    _file: SocketFile,
    copies: Arc<std::sync::atomic::AtomicUsize>,
}

impl Served {
    fn start(trunk_heard: bool) -> Self {
        let (served, mut questions) = Self::silent();
        let copies = Arc::clone(&served.copies);
        tokio::spawn(async move {
            while let Some(question) = questions.recv().await {
                match question {
                    Question::Vm(vm, reply) => drop(reply.send(answer(&vm.to_string()))),
                    Question::Condition(reply) => drop(reply.send(condition(trunk_heard))),
                    Question::Whole(reply) => {
                        copies.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        drop(reply.send(Whole::new(crate::endpoint::metrics::tests_status)));
                    }
                }
            }
        });
        served
    }

    /// Nobody answers until somebody reads the questions.
    fn silent() -> (Self, mpsc::Receiver<Question>) {
        let folder = tempfile::tempdir().unwrap();
        let (listener, file) = bind_socket(&folder.path().join("status.sock"), 0o600, None).unwrap();
        let (ask, questions) = mpsc::channel(QUESTIONS_MAXIMUM);
        tokio::spawn(run(listener, None, ask));
        (Self { folder, _file: file, copies: Arc::default() }, questions)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("status.sock")
    }

    async fn ask(&self, target: &str) -> (u16, String) {
        let (code, body) = ask(&Place::Unix(&self.socket()), target, 1 << 20, DEADLINE).await.unwrap();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }
}

fn answer(vm: &str) -> VmAnswer {
    VmAnswer {
        monitor: condition(true),
        vm: vm.to_owned(),
        hears: Hears::Heard,
        state: "BEATING".to_owned(),
        last_heartbeat_age_ms: Some(1),
        interval_ms: Some(10_000),
        guardian: false,
        quiet_left_ms: None,
        suspended: None,
    }
}

#[tokio::test]
async fn every_target_is_answered() {
    let served = Served::start(true);
    let socket = served.socket();
    assert_eq!(ask_vm(&Place::Unix(&socket), VM, DEADLINE).await.unwrap(), answer(VM));
    let (code, text) = served.ask("/status").await;
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &report["failures"]), (200, &serde_json::json!([])));
    let status: Status = serde_json::from_value(report["host_monitors"][0].clone()).unwrap();
    assert_eq!(status, crate::endpoint::metrics::tests_status());
    for target in ["/metrics", "/metrics/vms"] {
        let (code, text) = served.ask(target).await;
        assert!(code == 200 && text.starts_with("# HELP vmpulse_hostmon_"), "{text}");
    }
    assert_eq!(served.ask("/health").await.0, 200);
    assert_eq!(served.ask("/vm/x").await.0, 400);
    assert_eq!(served.ask("/").await.0, 404);
    let sick = Served::start(false);
    let (code, text) = sick.ask("/health").await;
    let health: Health = serde_json::from_str(&text).unwrap();
    assert_eq!((code, health.healthy, health.monitor.isolated), (503, false, true));
}

#[tokio::test(start_paused = true)]
async fn however_many_ask_the_loop_copies_once_a_second() {
    let served = Served::start(true);
    for _ in 0..20 {
        served.ask("/metrics").await;
        served.ask("/status").await;
    }
    assert_eq!(served.copies.load(std::sync::atomic::Ordering::Relaxed), 1);
    tokio::time::advance(COPY_LIFE).await;
    served.ask("/metrics").await;
    assert_eq!(served.copies.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_does_not_turn_is_said_so() {
    let (served, mut questions) = Served::silent();
    for target in ["/health", "/metrics", &format!("/vm/{VM}")] {
        let (code, text) = served.ask(target).await;
        assert!(code == 503 && text.contains("DOWN"), "{target}: {code} {text}");
    }
    questions.close();
    // Everything that was asked is bounded, and of nobody any more.
    assert!(
        questions
            .recv()
            .await
            .is_some_and(|question| matches!(question, Question::Condition(reply) if reply.is_closed()))
    );
}

#[tokio::test]
async fn those_that_say_nothing_or_too_much_are_put_out_and_others_served() {
    let served = Served::start(true);
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS - 1 {
        silent.push(UnixStream::connect(served.socket()).await.unwrap());
    }
    let mut greedy = UnixStream::connect(served.socket()).await.unwrap();
    let head = [b"GET /health HTTP/1.1\r\nX: ".as_slice(), &[b'y'; BUFFER_BYTES * 2]].concat();
    let _closed = greedy.write_all(&head).await;
    let mut said = Vec::new();
    let _reset = timeout(DEADLINE, greedy.read_to_end(&mut said)).await.expect("put out in time");
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    assert_eq!(served.ask("/health").await.0, 200);
    let mut end = [0];
    let closed = timeout(DEADLINE, silent[0].read(&mut end)).await.expect("closed in time");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
}

#[tokio::test]
async fn one_connection_carries_many_questions() {
    let served = Served::start(true);
    let mut stream = UnixStream::connect(served.socket()).await.unwrap();
    for _ in 0..3 {
        stream.write_all(format!("HEAD /vm/{VM} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(DEADLINE, stream.read_u8()).await.expect("in time").unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
    }
}

/// A certificate of an authority, made by `openssl` as an administrator makes one.
fn certify(folder: &std::path::Path, authority: &str, name: &str) -> TlsFiles {
    let openssl = |line: &str| {
        let said =
            std::process::Command::new("openssl").args(line.split(' ')).current_dir(folder).output().unwrap();
        assert!(said.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&said.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    if !folder.join(format!("{authority}.pem")).exists() {
        openssl(&format!(
            "req -x509 {key} -days 2 -subj /CN={authority} -keyout {authority}.key -out {authority}.pem"
        ));
    }
    std::fs::write(folder.join("ext"), "subjectAltName=DNS:host1\nbasicConstraints=CA:FALSE\n").unwrap();
    openssl(&format!("req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
    let sign = format!("-CA {authority}.pem -CAkey {authority}.key -CAcreateserial -days 2 -extfile ext");
    openssl(&format!("x509 -req -in {name}.csr {sign} -out {name}.pem"));
    let file = |end: &str| folder.join(format!("{name}.{end}"));
    TlsFiles {
        certificate: file("pem"),
        key: file("key"),
        authorities: folder.join(format!("{authority}.pem")),
    }
}

#[tokio::test]
async fn the_controllers_question_is_answered_by_mutual_tls_and_nobody_elses() {
    let served = Served::start(true);
    let folder = served.folder.path();
    let (monitor, controller) = (certify(folder, "ca", "hm"), certify(folder, "ca", "controller"));
    let stranger =
        TlsFiles { authorities: controller.authorities.clone(), ..certify(folder, "other", "stranger") };
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let desk = {
        let (ask, mut questions) = mpsc::channel(QUESTIONS_MAXIMUM);
        tokio::spawn(async move {
            while let Some(question) = questions.recv().await {
                if let Question::Vm(vm, reply) = question {
                    drop(reply.send(answer(&vm.to_string())));
                }
            }
        });
        Arc::new(Desk { questions: ask, line: Mutex::default(), copy: Mutex::default() })
    };
    tokio::spawn(async move { serve_tcp(&Tcp { address, files: monitor }, &desk).await });
    let place = |files| Place::Tcp { address, name: "host1", files };
    let waiting = async {
        loop {
            match ask_vm(&place(&controller), VM, DEADLINE).await {
                Ok(told) => return told,
                // It is not listening yet.
                Err(crate::endpoint::client::AskError::Io(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    assert_eq!(timeout(DEADLINE, waiting).await.expect("an answer in time"), answer(VM));
    let refused = ask_vm(&place(&stranger), VM, DEADLINE).await.unwrap_err();
    assert!(
        matches!(
            refused,
            crate::endpoint::client::AskError::Io(_) | crate::endpoint::client::AskError::Http(_)
        ),
        "{refused:?}"
    );
    let wrong_name = Place::Tcp { address, name: "host2", files: &controller };
    assert!(ask_vm(&wrong_name, VM, DEADLINE).await.is_err());
}
