#!/bin/sh
# Deploys the event-driven half of Matsuri to a local AWS: the template that goes to AWS, in the same two
# steps (package, deploy). A LocalStack-compatible image runs this script when it is ready; `cargo xtask up`
# and `deploy` run it as well.
#
#   DEPLOY_DIR             folder with infrastructure, events/rules, step-functions as in the repository;
#                          its lambdas/auth, lambdas/processors, lambdas/saga and lambdas/websocket are zip
#                          files of executables
#   STOCK_SERVICE_URL      origin of stock-service for the functions
#   PAYMENT_API_URL        origin of the payment provider for the functions
#   CORE_API_URI           origin of core-api for the API gateway
#   AUTH_ISSUER            the API gateway's address, for clients, functions and core-api alike
#   CORE_API_DATABASE_URL, STOCK_SERVICE_DATABASE_URL, AUTH_DATABASE_URL
#                          the database, with the role of each program
#   SIGNING_KEYS_CACHE_TTL_SECONDS  how long functions cache the user signing keys; default 300
#   GOOGLE_ISSUER          an OpenID Connect provider that replaces Google; default none
#   ARCHITECTURE           arm64 or x86_64, the functions' architecture; default this machine's
#   SAGA_TYPE              STANDARD or EXPRESS; default STANDARD
#   ORDER_STUCK_THRESHOLD_SECONDS  age of an open order from which its saga is restarted; default 360
#   PAYMENT_ACTION_TIMEOUT_SECONDS  how long a customer may authenticate a payment; default 600
#   MATSURI_KEYS           folder with services.pem, services.jwks.json, user-signing-keys.json,
#                          refresh-pepper and unsubscribe-keys; if set, the script gives the secrets their
#                          values
#
# The usual AWS_* variables give the address and the credentials of the local AWS.
set -eu

tree=${DEPLOY_DIR:-/opt/matsuri}
stack=matsuri
bucket=matsuri-artifacts
archive=ecommerce-event-archive

case ${ARCHITECTURE:-$(uname -m)} in
  arm64 | aarch64) architecture=arm64 ;;
  *) architecture=x86_64 ;;
esac

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The bucket exists after the first run. `package` reports any other error.
awslocal s3 mb "s3://$bucket" >/dev/null 2>&1 || true

# S3 keys are content hashes, so unchanged files are neither uploaded nor deployed again.
if ! awslocal cloudformation package \
  --template-file "$tree/infrastructure/sam/template.yaml" \
  --s3-bucket "$bucket" \
  --output-template-file "$scratch/template.yaml" >"$scratch/package.log" 2>&1; then
  # Without progress bars.
  tr '\r' '\n' <"$scratch/package.log" | grep -v '^Uploading' >&2
  exit 1
fi

if ! awslocal cloudformation deploy \
  --stack-name "$stack" \
  --template-file "$scratch/template.yaml" \
  --s3-bucket "$bucket" \
  --capabilities CAPABILITY_NAMED_IAM CAPABILITY_AUTO_EXPAND \
  --no-fail-on-empty-changeset \
  --parameter-overrides \
    Local=true \
    Architecture="$architecture" \
    SagaType="${SAGA_TYPE:-STANDARD}" \
    OrderStuckThresholdSeconds="${ORDER_STUCK_THRESHOLD_SECONDS:-360}" \
    PaymentActionTimeoutSeconds="${PAYMENT_ACTION_TIMEOUT_SECONDS:-600}" \
    StockServiceUrl="$STOCK_SERVICE_URL" \
    PaymentApiUrl="$PAYMENT_API_URL" \
    CoreApiUri="$CORE_API_URI" \
    AuthIssuer="$AUTH_ISSUER" \
    SigningKeysCacheTtlSeconds="${SIGNING_KEYS_CACHE_TTL_SECONDS:-300}" \
    GoogleIssuer="${GOOGLE_ISSUER:-https://accounts.google.com}" \
    GoogleClientId="${GOOGLE_ISSUER:+matsuri}" \
    MailsPerSecond=1000 \
    ReceiptIssuerName="株式会社まつり" \
    ReceiptIssuerAddress="〒111-0032 東京都台東区浅草二丁目3番1号" \
    ReceiptIssuerRegistrationNumber=T1234567890123 \
    MaxConnectionsPerAddress=1000000 \
    MaxLoginFailuresPerIp=1000000; then # locally, all clients share one address
  awslocal cloudformation describe-stack-events --stack-name "$stack" --output text \
    --query "StackEvents[?contains(ResourceStatus, 'FAILED')].[Timestamp, LogicalResourceId, ResourceStatusReason]" >&2
  exit 1
fi

# The local CloudFormation does not support archives; the API does.
if ! awslocal events describe-archive --archive-name "$archive" >/dev/null 2>&1; then
  bus=$(awslocal events describe-event-bus --name ecommerce-event-bus --query Arn --output text)
  awslocal events create-archive --archive-name "$archive" --event-source-arn "$bus" --retention-days 30 >/dev/null
fi

put_database_url() { # secret, URL
  URL=$2 python3 -c 'import json, os, sys; json.dump({"url": os.environ["URL"]}, sys.stdout)' \
    >"$scratch/database.json"
  awslocal secretsmanager put-secret-value \
    --secret-id "$1" --secret-string "file://$scratch/database.json" >/dev/null
}
put_database_url core-api/db-credentials "$CORE_API_DATABASE_URL"
put_database_url stock-service/db-credentials "$STOCK_SERVICE_DATABASE_URL"
put_database_url auth/db-credentials "$AUTH_DATABASE_URL"

if [ -n "${GOOGLE_ISSUER:-}" ]; then
  awslocal secretsmanager put-secret-value \
    --secret-id ecommerce/oauth-google --secret-string local-client-secret >/dev/null
fi

if [ -n "${MATSURI_KEYS:-}" ]; then
  python3 - >"$scratch/signing-key.json" <<'EOF'
import json, os, pathlib, sys

folder = pathlib.Path(os.environ["MATSURI_KEYS"])
[key] = json.loads((folder / "services.jwks.json").read_text())["keys"]
json.dump({"kid": key["kid"], "private_key_pem": (folder / "services.pem").read_text()}, sys.stdout)
EOF
  awslocal secretsmanager put-secret-value \
    --secret-id ecommerce/service-signing-key --secret-string "file://$scratch/signing-key.json" >/dev/null
  awslocal secretsmanager put-secret-value \
    --secret-id ecommerce/payment-api-key --secret-string sk_test_local >/dev/null
  awslocal secretsmanager put-secret-value \
    --secret-id ecommerce/payment-webhook-secret --secret-string whsec_local >/dev/null
  awslocal secretsmanager put-secret-value \
    --secret-id ecommerce/user-signing-keys --secret-string "file://$MATSURI_KEYS/user-signing-keys.json" >/dev/null
  awslocal secretsmanager put-secret-value \
    --secret-id ecommerce/refresh-pepper --secret-string "file://$MATSURI_KEYS/refresh-pepper" >/dev/null
  awslocal secretsmanager put-secret-value \
    --secret-id ecommerce/unsubscribe-keys --secret-string "file://$MATSURI_KEYS/unsubscribe-keys" >/dev/null
fi
