//! The known shapes of secrets, by the prefixes that services give their own.
//!
//! A shape only describes the part that identifies a secret; the characters after it may belong to
//! the secret, too.

use super::SecretKind;

/// The known shapes; all but that of a private key only match at the beginning of a word.
pub(super) const SHAPES: &[(SecretKind, &str)] = &[
    (SecretKind::AwsKey, r"(?-u)(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    (
        SecretKind::GithubToken,
        r"(?-u)gh[pousr]_[A-Za-z0-9]{36}|ghs_[A-Za-z0-9._-]{36}|github_pat_[A-Za-z0-9_]{22}",
    ),
    (SecretKind::GitlabToken, r"(?-u)glpat-[A-Za-z0-9_-]{20}"),
    (
        SecretKind::SlackToken,
        r"(?-u)xox[abeoprs]-[A-Za-z0-9-]{10}|hooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{16}",
    ),
    (SecretKind::AnthropicKey, r"(?-u)sk-ant-[A-Za-z0-9_-]{20}"),
    (
        SecretKind::OpenAiKey,
        r"(?-u)sk-(?:(?:proj|svcacct|admin)-[A-Za-z0-9_-]{32}|[A-Za-z0-9]{40})",
    ),
    (SecretKind::GoogleKey, r"(?-u)AIza[0-9A-Za-z_-]{35}"),
    (SecretKind::StripeKey, r"(?-u)[rs]k_live_[0-9A-Za-z]{20}"),
    (SecretKind::NpmToken, r"(?-u)npm_[A-Za-z0-9]{36}"),
    (SecretKind::VaultToken, r"(?-u)hvs\.[A-Za-z0-9_-]{24}"),
    // A header alone does not count: some of the key must follow.
    (
        SecretKind::PrivateKey,
        r"(?s-u)-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----.{1,300}?[A-Za-z0-9+/]{40}",
    ),
    // Services with a prefix of their own, as their documentation gives it.
    (
        SecretKind::ServiceToken,
        r"(?-u)SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{20}|hf_[A-Za-z0-9]{30}|dckr_(?:pat|oat)_[A-Za-z0-9_-]{20}|pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{20}|do[oprt]_v1_[a-f0-9]{40}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|glsa_[A-Za-z0-9]{32}|glc_[A-Za-z0-9+/]{32}|lin_api_[A-Za-z0-9]{32}|NRAK-[A-Z0-9]{27}|PMAK-[a-f0-9]{24}-[a-f0-9]{34}|rubygems_[a-f0-9]{48}|dp\.(?:pt|st|ct)\.[A-Za-z0-9._-]{40}|sntry[su]_[A-Za-z0-9_=/+-]{40}|gsk_[A-Za-z0-9]{40}|xai-[A-Za-z0-9]{60}|sbp_[a-f0-9]{40}|pul-[a-f0-9]{40}|tskey-[a-z]+-[A-Za-z0-9]{8,}-[A-Za-z0-9]{20}|EAA[A-Za-z0-9]{80}|ATATT3[A-Za-z0-9_=-]{60}|sq0csp-[A-Za-z0-9_-]{40}|AGE-SECRET-KEY-1[A-Z0-9]{50}|[0-9]{8,10}:AA[A-Za-z0-9_-]{33}",
    ),
    (
        SecretKind::ServiceToken,
        r"(?i-u)(?:discord(?:app)?\.com/api/webhooks/[0-9]{16,20}/[A-Za-z0-9_-]{60}|AccountKey=[A-Za-z0-9+/]{80}|\.webhook\.office\.com/webhookb2/[A-Za-z0-9@/-]{60})",
    ),
];
