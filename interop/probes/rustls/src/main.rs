//! A small web server over rustls: `rustls-site ADDRESS DIR`. DIR has certificate.pem,
//! key.pem and www. It answers requests as
//! HTTP/1.1. A read times out after eight seconds, of which rustls takes two in a row.

use rustls::pki_types::{pem::PemObject, CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next().ok_or("no address")?;
    let dir = args.next().ok_or("no directory")?;
    let dir = Path::new(&dir);
    let chain = CertificateDer::pem_file_iter(dir.join("certificate.pem"))?.collect::<std::result::Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(dir.join("key.pem"))?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let www = Arc::new(dir.join("www"));
    for stream in TcpListener::bind(address)?.incoming() {
        let (config, www, stream) = (config.clone(), www.clone(), stream?);
        std::thread::spawn(move || drop(serve(stream, config, &www)));
    }
    Ok(())
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, www: &Path) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(8)))?;
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config)?, stream));
    loop {
        let mut request = String::new();
        loop {
            let before = request.len();
            let n = match stream.read_line(&mut request) {
                Ok(n) => n,
                Err(e) => {
                    // rustls has queued an alert.
                    let inner = stream.get_mut();
                    while inner.conn.wants_write() && inner.conn.write_tls(&mut inner.sock).is_ok() {}
                    return Err(e.into());
                }
            };
            if n == 0 {
                return Ok(());
            }
            if request[before..].trim().is_empty() && before > 0 {
                break;
            }
        }
        let path = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_string();
        let out = stream.get_mut();
        match std::fs::read(www.join(path)) {
            Ok(body) => {
                write!(out, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n", body.len())?;
                out.write_all(&body)?;
            }
            Err(_) => write!(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
        }
        out.flush()?;
    }
}
