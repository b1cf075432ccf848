//! Certificates and keys out of files: each fault by its name.

use base64::Engine as _;

use super::*;

fn errors(files: &[CertificateFiles]) -> Vec<LoadError> {
    Certificates::load(&settings(files), year(2030)).expect_err("it must not load")
}

fn fault(files: CertificateFiles) -> (PathBuf, Fault) {
    let mut errors = errors(&[files]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let LoadError { file, fault } = errors.remove(0);
    (file, fault)
}

#[test]
fn a_file_that_is_no_chain_is_named_with_its_fault() {
    let authority = Authority::new();
    let good = authority.issue(&["a.test"]);
    let text = std::fs::read_to_string(&good.chain).unwrap();
    let der = der(&good.chain);
    let csr = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
    for (chain, expected) in [
        (authority.path("missing.pem"), Fault::Missing),
        (authority.folder.path().to_owned(), Fault::Directory),
        (authority.write("empty", ""), Fault::NotPem { der: false }),
        (authority.write("prose", "this is no certificate"), Fault::NotPem { der: false }),
        (authority.write("der", &der), Fault::NotPem { der: true }),
        (good.key.clone(), Fault::NoCertificate { has_key: true }),
        (authority.write("csr", csr), Fault::NoCertificate { has_key: false }),
    ] {
        let files = CertificateFiles { chain: chain.clone(), key: good.key.clone() };
        assert_eq!(fault(files), (chain, expected));
    }
    let cut = authority.write("cut", text.split("-----END").next().unwrap());
    let (file, broken) = fault(CertificateFiles { chain: cut.clone(), key: good.key.clone() });
    assert_eq!(file, cut);
    assert!(matches!(&broken, Fault::BrokenPem(why) if why.contains("-----END CERTIFICATE-----")), "{broken:?}");
    let letters = authority.write("letters", text.replacen("MII", "M!!", 1));
    let (_, broken) = fault(CertificateFiles { chain: letters, key: good.key });
    assert!(matches!(&broken, Fault::BrokenPem(why) if why.contains("base64")), "{broken:?}");
}

#[test]
fn a_certificate_that_is_garbage_inside_is_named_by_its_place() {
    let authority = Authority::new();
    let good = authority.issue(&["a.test"]);
    let garbage = base64::engine::general_purpose::STANDARD.encode([0x30, 3, 1, 2, 3]);
    let text = format!(
        "{}-----BEGIN CERTIFICATE-----\n{garbage}\n-----END CERTIFICATE-----\n",
        std::fs::read_to_string(&good.chain).unwrap()
    );
    let chain = authority.write("second.pem", text);
    let (file, fault) = fault(CertificateFiles { chain: chain.clone(), key: good.key });
    assert_eq!(file, chain);
    assert!(matches!(fault, Fault::BadCertificate { number: 2, .. }), "{fault:?}");
}

#[test]
fn a_file_that_is_no_key_is_named_with_its_fault() {
    let authority = Authority::new();
    let good = authority.issue(&["a.test"]);
    let pkcs8 = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIF\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let pkcs1 = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMIIF\n-----END RSA PRIVATE KEY-----\n";
    let public = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    for (key, expected) in [
        (authority.path("missing.key"), Fault::Missing),
        (authority.folder.path().to_owned(), Fault::Directory),
        (authority.write("prose", "no key"), Fault::NotPem { der: false }),
        (good.chain.clone(), Fault::NoKey { has_certificate: true }),
        (authority.write("public", public), Fault::NoKey { has_certificate: false }),
        (authority.write("pkcs8", pkcs8), Fault::EncryptedKey),
        (authority.write("pkcs1", pkcs1), Fault::EncryptedKey),
    ] {
        let files = CertificateFiles { chain: good.chain.clone(), key: key.clone() };
        assert_eq!(fault(files), (key, expected));
    }
    let garbage = authority.write("garbage", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let (file, bad) = fault(CertificateFiles { chain: good.chain, key: garbage.clone() });
    assert_eq!(file, garbage);
    assert!(matches!(bad, Fault::BadKey(_)), "{bad:?}");
}

#[test]
fn the_key_of_another_certificate_is_refused_and_a_wrong_order_is_told() {
    let authority = Authority::new();
    let (one, two) = (authority.issue(&["one.test"]), authority.issue(&["two.test"]));
    let mixed = CertificateFiles { chain: one.chain.clone(), key: two.key.clone() };
    assert_eq!(fault(mixed), (two.key.clone(), Fault::KeyOfAnother { chain: one.chain.clone(), belongs_to: None }));
    let both = [&one.chain, &two.chain].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    let chain = authority.write("both.pem", both);
    let turned = CertificateFiles { chain: chain.clone(), key: two.key.clone() };
    assert_eq!(fault(turned), (two.key, Fault::KeyOfAnother { chain, belongs_to: Some(2) }));
}

#[test]
fn all_faults_of_all_files_come_in_one_go_each_with_its_file() {
    let authority = Authority::new();
    let good = authority.issue(&["a.test"]);
    let missing = CertificateFiles { chain: authority.path("no.pem"), key: authority.path("no.key") };
    let one_file = CertificateFiles { chain: authority.path("both"), key: authority.path("both") };
    let other = authority.issue(&["b.test"]);
    let mixed = CertificateFiles { chain: good.chain.clone(), key: other.key.clone() };
    let found = errors(&[missing.clone(), good, one_file.clone(), mixed]);
    let files: Vec<&Path> = found.iter().map(|error| error.file.as_path()).collect();
    assert_eq!(files, [&*missing.chain, &missing.key, &one_file.chain, &other.key]);
    for error in &found {
        assert!(error.to_string().starts_with(&format!("{}: ", error.file.display())), "{error}");
    }
    assert_eq!(errors(&[]), [LoadError { file: PathBuf::new(), fault: Fault::NoneGiven }]);
}

#[test]
fn what_clients_will_stumble_over_is_a_warning_and_served() {
    let authority = Authority::new();
    let named = authority.issue(&["a.test"]);
    let nameless = authority.issue(&[]);
    let warnings = |files: &CertificateFiles, at| {
        let (_, warnings) = Certificates::load(&settings(std::slice::from_ref(files)), year(at)).unwrap();
        assert!(warnings.iter().all(|warning| warning.file == files.chain));
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(warnings(&named, 2030), [""; 0]);
    let [expired] = &warnings(&named, TO + 1)[..] else { panic!("one") };
    assert!(expired.contains("certificate 1 in it EXPIRED on Jan  1 00:00:00 2040"), "{expired}");
    let [early] = &warnings(&named, FROM - 1)[..] else { panic!("one") };
    assert!(early.contains("NOT VALID before Jan  1 00:00:00 2020"), "{early}");
    let [no_names] = &warnings(&nameless, 2030)[..] else { panic!("one") };
    assert!(no_names.contains("no subjectAltName"), "{no_names}");
}

#[test]
fn a_byte_order_mark_and_text_between_the_sections_are_passed_over() {
    let authority = Authority::new();
    let good = authority.issue(&["a.test"]);
    let text = std::fs::read_to_string(&good.chain).unwrap().replace('\n', "\r\n");
    let chain = authority.write("mark.pem", format!("\u{feff}{text}\r\nsome words\r\n"));
    let key = authority.write("mark.key", format!("Bag Attributes\n  x: y\n{}", std::fs::read_to_string(&good.key).unwrap()));
    certificates(&[CertificateFiles { chain, key }]);
}
