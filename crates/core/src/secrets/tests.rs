//! What is found and, just as important, what is not.

use super::*;

fn kinds(content: &str) -> Vec<SecretKind> {
    let shapes = SecretShapes::get().unwrap();
    shapes.find(content.as_bytes()).into_iter().map(|f| f.kind).collect()
}

/// Joined at run time, so that no file of ours contains what looks like a secret.
fn join(parts: &[&str]) -> String {
    parts.concat()
}

const RANDOM: &str = "q7Zk2Wm9Xc4Vb8Nn3Ls6Pd1Rf5Tg0Hj";

#[test]
fn known_shapes_are_found() {
    use SecretKind as K;
    let pem = join(&["-----BEGIN RSA ", "PRIVATE KEY-----\n", RANDOM, RANDOM, "\n"]);
    for (content, kind) in [
        (join(&["AK", "IAQ7ZK2WM9XC4VB8NN"]), K::AwsKey),
        (join(&["AK", "IAQ7ZKQ7ZKQ7ZKQ7ZK"]), K::AwsKey),
        (join(&["x = \"gh", "p_", RANDOM, "AbC12\""]), K::GithubToken),
        (join(&["github", "_pat_", RANDOM]), K::GithubToken),
        (join(&["gh", "s_123_eyJhbGciOiJSUzI1NiJ9.", RANDOM, ".x"]), K::GithubToken),
        (join(&["\\nAK", "IAQ7ZK2WM9XC4VB8NN"]), K::AwsKey),
        (join(&["\x1b[1;32msk-", "ant-api03-", RANDOM]), K::AnthropicKey),
        (join(&["zsk-ant-sk-", "ant-api03-", RANDOM]), K::AnthropicKey),
        (join(&["gl", "pat-", RANDOM]), K::GitlabToken),
        (join(&["xo", "xb-1203920391-", RANDOM]), K::SlackToken),
        (join(&["sk-", "ant-api03-", RANDOM]), K::AnthropicKey),
        (join(&["sk-", "proj-", RANDOM, "Ab"]), K::OpenAiKey),
        (join(&["AI", "za", RANDOM, "AbCd"]), K::GoogleKey),
        (join(&["sk_", "live_", RANDOM]), K::StripeKey),
        (join(&["np", "m_", RANDOM, "AbC12"]), K::NpmToken),
        (join(&["hv", "s.", RANDOM]), K::VaultToken),
        (pem, K::PrivateKey),
        (format!("db_password = \"{RANDOM}\""), K::Assigned),
        (format!("export API_KEY={RANDOM}\n"), K::Assigned),
        (format!("{{\"clientSecret\": \"{RANDOM}\"}}"), K::Assigned),
        (format!("token: '{}'", "0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c"), K::Assigned),
    ] {
        assert_eq!(kinds(&content), [kind]);
    }
}

#[test]
fn plain_text_is_left_alone() {
    for content in [
        "let token = next_token_from_the_stream(&mut input);",
        "password = \"correct-horse-battery-staple\"",
        "api_key: \"YOUR_API_KEY_GOES_HERE_0123\"",
        "secret = \"${VAULT_SECRET_DATABASE_PASSWORD}\"",
        "token = process.env.SOME_VERY_LONG_NAME_2",
        "token: tokenFromTheRequestHeader",
        "secret_name = \"my-service/database/credentials-v2\"",
        "checksum = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
        "secret = \"QwErTyUiOpAsDfGhJkLzXcVb\"",
        "token: '0f9e8d7c6b5a4f3e2d1c0b9a'",
        "secret = \"q7zk2wm9xc4vb8nn3ls6pd1rf5tg0hj\"",
        "secret = \"Q7ZK2WM9XC4VB8NN3LS6PD1RF5TG0HJ\"",
        "secret = \"Aa1Aa1Aa1Aa1Aa1Aa1Aa1Aa1\"",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "starts with -----BEGIN RSA PRIVATE KEY----- and nothing else",
        "the sk-ant- prefix, xoxb- and ghp_ are looked for",
        "task-antics-and-other-things-that-are-long",
        "disk-0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a2f1e",
    ] {
        assert_eq!(kinds(content), [], "{content}");
    }
}

#[test]
fn a_value_is_found_once() {
    let content = join(&["token = \"gh", "p_", RANDOM, "AbC12\""]);
    assert_eq!(kinds(&content), [SecretKind::GithubToken]);
    let other = join(&["secret = \"", RANDOM, "\""]);
    let assigned = SecretKind::Assigned;
    let between = [content.as_str(), &other, &content, &other].join("\n");
    let github = SecretKind::GithubToken;
    assert_eq!(kinds(&between), [github, assigned, github, assigned]);
}

#[test]
fn ranges_that_touch_are_one() {
    let check = |ranges: &[Range<usize>], expected: &[Range<usize>]| {
        assert_eq!(merged(ranges.to_vec()), expected, "{ranges:?}");
    };
    check(&[], &[]);
    check(&[5..9, 0..3], &[0..3, 5..9]);
    check(&[0..3, 3..4, 5..6], &[0..4, 5..6]);
    check(&[0..9, 2..4, 8..10, 12..13], &[0..10, 12..13]);
}

fn settings(content: &str) -> Vec<SecretKind> {
    let shapes = SecretShapes::get().unwrap();
    shapes.find_in_settings(content.as_bytes()).into_iter().map(|f| f.kind).collect()
}

#[test]
fn a_service_is_known_by_its_prefix() {
    let hex = "0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a2f1e";
    for token in [
        join(&["SG", ".q7Zk2Wm9Xc4Vb8Nn3Ls6Pd.", RANDOM]),
        join(&["hf", "_", RANDOM]),
        join(&["dckr", "_pat_", RANDOM]),
        join(&["dop", "_v1_", hex]),
        join(&["shpat", "_", hex]),
        join(&["glsa", "_", RANDOM, "A"]),
        join(&["rubygems", "_", hex, "0f9e8d7c"]),
        join(&["gsk", "_", RANDOM, RANDOM]),
        join(&["AGE-SECRET", "-KEY-1", &"Q7ZK2WM9XC".repeat(6)]),
        join(&["123456789", ":AA", RANDOM, "Ab"]),
        join(&["https://discord.com/api", "/webhooks/123456789012345678/", RANDOM, RANDOM]),
        join(&["DefaultEndpointsProtocol=https;Account", "Key=", &RANDOM.repeat(3), "=="]),
    ] {
        assert_eq!(kinds(&token), [SecretKind::ServiceToken], "{token}");
    }
}

#[test]
fn passwords_in_addresses_are_found_everywhere() {
    for address in [
        "url = \"postgres://app:p4Ssw0rd9xKq2@db.internal:5432/app\"",
        "redis://:p4Ssw0rd9xKq2@cache:6379",
        "DATABASE_URL=mysql+pymysql://root:Tr0ub4dor3x@10.0.0.7/x",
        "amqps://svc:a8Kd72hfQ1@mq.acme.io",
        "git clone https://bot:q7Zk2Wm9Xc@git.acme.io/x.git",
    ] {
        assert_eq!(kinds(address), [SecretKind::AddressPassword], "{address}");
        assert_eq!(settings(address), [SecretKind::AddressPassword], "{address}");
    }
}

#[test]
fn in_settings_a_short_password_is_one() {
    for line in [
        "DB_PASSWORD=Tr0ub4dor-and-3-horses",
        "S3_SECRET=hunter2hunter2",
        "export API_TOKEN='a8Kd72hfQ1zz'",
        "  password: a8Kd72hfQ1   # of the database",
        "spring.datasource.password = p4Ssw0rd9xKq2",
        "db_pwd = \"s3cr3tP4ss!\"",
        "- GRAFANA_PASSWORD=gr4f4naR0cks",
        "{\"user\":\"app\",\"password\":\"a8Kd72hfQ1\"}",
        "{\"db\": {\"dbPassword\": \"a8Kd72hfQ1\", \"port\": 5432}}",
        "database: { user: app, password: 'a8Kd72hfQ1' }",
    ] {
        assert_eq!(settings(line), [SecretKind::Assigned], "{line}");
        assert_eq!(kinds(line), [], "code says such things: {line}");
    }
    let two = "{\"password\":\"a8Kd72hfQ1\",\"api_key\":\"p4Ssw0rd9xKq2\"}";
    assert_eq!(settings(two), [SecretKind::Assigned; 2]);
    // A known shape is reported as its own kind.
    let token = join(&["GITHUB_TOKEN=gh", "p_", RANDOM, "AbC12"]);
    assert_eq!(settings(&token), [SecretKind::GithubToken]);
}

/// Lines of real repositories in which nothing is secret.
const HARMLESS: &[&str] = &[
    // Documentation and templates.
    "password = \"changeme\"",
    "DB_PASSWORD=changeme123",
    "API_KEY=your-api-key-here",
    "API_KEY=<your api key>",
    "SECRET_KEY=replace_me_with_a_real_one",
    "token: xxxxxxxxxxxxxxxxxxxx",
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
    "curl -H 'Authorization: Bearer $TOKEN' https://api.example.com",
    "postgres://user:password@host:5432/name",
    "postgres://username:changeme123@db.acme.io/app",
    "mongodb+srv://<user>:<password>@cluster0.mongodb.net/test",
    "Set `SLACK_TOKEN` to the token that begins with `xoxb-`.",
    "Your token looks like ghp_… and has 40 characters.",
    // References to where the secret is.
    "password = os.environ[\"DB_PASSWORD\"]",
    "password = os.environ.get('DB_PASSWORD', '')",
    "password: ${DB_PASSWORD}",
    "DB_PASSWORD=${SECRET:-}",
    "token: ${{ secrets.GITHUB_TOKEN }}",
    "token = process.env.SERVICE_TOKEN_2",
    "const token = await getToken({ audience: 'api1' });",
    "secret: !vault |",
    "password: {{ .Values.db.password1 | quote }}",
    "password = \"%(DB_PASSWORD1)s\"",
    "DB_PASSWORD_FILE=/run/secrets/db_password_v2",
    "db.password=file:/etc/app1/password.txt",
    "secret = vault:secret/data/app1#password",
    "SECRET=op://vault1/item2/field3",
    "secret = arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-Ab12Cd",
    "url = postgres://app:$DB_PASSWORD@db.internal/app",
    "postgres://app:${PASSWORD_2}@db.internal/app",
    "https://x-access-token:${{ github.token }}@github.com/o/r",
    // Development and tests.
    "postgres://postgres:postgres@localhost:5432/app_test",
    "postgres://app:p4Ssw0rd9xKq2@localhost:5432/app",
    "mysql://root:s3cr3tP4ss@127.0.0.1/test",
    "amqp://guest:guest@rabbitmq:5672/",
    "https://user:p4ssw0rd1x@example.com/path",
    "POSTGRES_PASSWORD: postgres",
    "POSTGRES_PASSWORD: password1",
    "MYSQL_ROOT_PASSWORD=root1234",
    "password: test-password-1",
    "assert_eq!(mask(\"password=hunter2\"), \"password=***\");",
    "const PASSWORD: &str = \"correct horse battery staple\";",
    "let token = \"abc123\";",
    "expect(token).toBe('fake-token-123456');",
    // Names, words and forms.
    "\"password\": \"Password:\",",
    "{\"password\": \"Password1:\", \"token\": \"${API_TOKEN_2}\"}",
    "{\"type\":\"string\",\"format\":\"password\",\"token\":\"550e8400-e29b-41d4-a716-446655440000\"}",
    "password.label = Passwort (mindestens 12 Zeichen)",
    "forgot_password: \"Forgot your password?\"",
    "\"enterPassword\": \"Entrez votre mot de passe\",",
    "<input type=\"password\" name=\"password1\" autocomplete=\"new-password\">",
    "secretName: web-tls-2",
    "imagePullSecrets: [{ name: regcred2 }]",
    "secret: my-app-db-credentials-v2",
    "token_type = bearer",
    "tokenUrl: https://auth.acme.io/oauth2/v2.0/token",
    "password_min_length = 12",
    "TOKEN_TTL=3600s",
    "passwordPolicy: PasswordPolicyV2Strict",
    "api_key: API_KEY_FROM_ENV_2",
    "pub struct Token { kind: TokenKind, at: Range<usize> }",
    "case Token::Ident2(name) => self.next_token(),",
    "secret: bool = true",
    // Ids, digests and data.
    "token: 550e8400-e29b-41d4-a716-446655440000",
    "request_id = 0198c0de-0000-7000-8000-000000000001",
    "commit = \"0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a2f1e\"",
    "checksum = \"75cd3fb03d5288b3ba9a1ee103ac7e9cbb59f0b03d64f8ddfcc04dd42758a85d\"",
    "\"integrity\": \"sha512-v2kDEe57lecTulaDIuNTPy3Ry4gLGJ6Z1O3vE1krgXZNrsQ+LFTGHVxVjcXPs17LhbZVGedAJv8XZ1tvj5FvSg==\"",
    "  integrity sha512-JQNR1/v2kDEe57lecTulaDIuNTPy3Ry4gLGJ6Z1O3vE1krgXZNrsQ==",
    "golang.org/x/text v0.14.0 h1:ScX5w1eTa3QqT8oi6+ziP7dTV1S2+ALU0bI+0zXKWiQ=",
    "image: ghcr.io/o/r@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "background: url(data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==)",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGq7Zk2Wm9Xc4Vb8Nn3Ls6Pd1Rf5Tg0Hj dev@acme",
    "-----BEGIN CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----",
    "<PackageReference Include=\"Token.Helper\" Version=\"2.1.3-beta4\" PublicKeyToken=\"b77a5c561934e089\" />",
    "resolved \"https://registry.npmjs.org/js-tokens/-/js-tokens-4.0.0.tgz\"",
    "key-value pairs are separated by a comma",
    "restore-keys: npm-key-d41d8cd98f00b204e9800998ecf8427e",
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;",
    "s3://bucket/path:with:colons@2x.png",
    "12:30:45 INFO [main] token refreshed in 125ms",
    "https://example.com:8443/a@b",
    "git@github.com:owner/repo.git",
];

#[test]
fn what_is_not_secret_is_left_alone() {
    assert!(HARMLESS.len() >= 60);
    let shapes = SecretShapes::get().unwrap();
    let mut wrong = Vec::new();
    for line in HARMLESS {
        let whole = shapes.find_whole(line.as_bytes()).len();
        if !(kinds(line).is_empty() && settings(line).is_empty() && whole == 0) {
            wrong.push(format!("{line}: {:?} {:?} {whole}", kinds(line), settings(line)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let all = HARMLESS.join("\n");
    assert_eq!((kinds(&all), settings(&all)), (vec![], vec![]), "nor all of it together");
}
