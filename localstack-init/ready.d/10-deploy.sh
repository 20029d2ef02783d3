#!/bin/sh
# Deploys the event-driven half of Matsuri to a local AWS: the same template that goes to AWS, by the same two steps.
# A LocalStack-compatible image runs this when it is ready; `cargo xtask up` and `deploy` run it as well.
#
#   DEPLOY_DIR       folder that holds infrastructure/sam, events/rules and step-functions as the repository does, and each
#                      family's functions, zipped, at the place of its source: lambdas/auth, lambdas/processors and lambdas/saga
#                      are zip files
#   STOCK_SERVICE_URL  origin of stock-service, as the functions reach it
#   PAYMENT_API_URL    origin of the payment provider, likewise
#   CORE_API_URI       origin of core-api, as the front door reaches it
#   AUTH_ISSUER        the front door's address, as clients, functions and core-api all name it
#   ACCOUNTS_DATABASE_URL  the database of the accounts, as the functions reach it
#   SIGNING_KEYS_CACHE_TTL_SECONDS  age of the signing keys that a function knows, at most; otherwise 300
#   GOOGLE_ISSUER      an OpenID Connect provider in Google's place; otherwise nobody signs in by one
#   ARCHITECTURE       arm64 or x86_64, for which the functions were built; otherwise this machine's
#   SAGA_TYPE          STANDARD or EXPRESS; otherwise STANDARD
#   ORDER_STUCK_THRESHOLD_SECONDS  age of an order from which order-reconciler takes it up; otherwise 360
#   MATSURI_KEYS       folder with services.pem, services.jwks.json, user-signing-keys.json and refresh-pepper; where it is
#                      set, the secrets get their values
#
# The address and the credentials of the local AWS come from the usual AWS_* variables.
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

# The bucket is there already on every run but the first. What else may be wrong with it, `package` tells.
awslocal s3 mb "s3://$bucket" >/dev/null 2>&1 || true

# Files are named in S3 by their content, so what did not change is neither uploaded nor deployed again.
if ! awslocal cloudformation package \
  --template-file "$tree/infrastructure/sam/template.yaml" \
  --s3-bucket "$bucket" \
  --output-template-file "$scratch/template.yaml" >"$scratch/package.log" 2>&1; then
  # Without its progress bars.
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
    StockServiceUrl="$STOCK_SERVICE_URL" \
    PaymentApiUrl="$PAYMENT_API_URL" \
    CoreApiUri="$CORE_API_URI" \
    AuthIssuer="$AUTH_ISSUER" \
    SigningKeysCacheTtlSeconds="${SIGNING_KEYS_CACHE_TTL_SECONDS:-300}" \
    GoogleIssuer="${GOOGLE_ISSUER:-https://accounts.google.com}" \
    GoogleClientId="${GOOGLE_ISSUER:+matsuri}" \
    MaxLoginFailuresPerIp=1000000; then # everybody comes from the same address here
  awslocal cloudformation describe-stack-events --stack-name "$stack" --output text \
    --query "StackEvents[?contains(ResourceStatus, 'FAILED')].[Timestamp, LogicalResourceId, ResourceStatusReason]" >&2
  exit 1
fi

# CloudFormation knows no archives here, while the API does.
if ! awslocal events describe-archive --archive-name "$archive" >/dev/null 2>&1; then
  bus=$(awslocal events describe-event-bus --name ecommerce-event-bus --query Arn --output text)
  awslocal events create-archive --archive-name "$archive" --event-source-arn "$bus" --retention-days 30 >/dev/null
fi

printf '{"url":"%s"}' "$ACCOUNTS_DATABASE_URL" >"$scratch/database.json"
awslocal secretsmanager put-secret-value \
  --secret-id core-api/db-credentials --secret-string "file://$scratch/database.json" >/dev/null

if [ -n "${GOOGLE_ISSUER:-}" ]; then
  awslocal secretsmanager put-secret-value \
    --secret-id ecommerce/oauth-google --secret-string local-client-secret >/dev/null
fi

if [ -n "${MATSURI_KEYS:-}" ]; then
  kid=$(sed -n 's/.*"kid": *"\([^"]*\)".*/\1/p' "$MATSURI_KEYS/services.jwks.json")
  pem=$(awk '{ printf "%s\\n", $0 }' "$MATSURI_KEYS/services.pem")
  printf '{"kid":"%s","private_key_pem":"%s"}' "$kid" "$pem" >"$scratch/signing-key.json"
  awslocal secretsmanager put-secret-value \
    --secret-id ecommerce/service-signing-key --secret-string "file://$scratch/signing-key.json" >/dev/null
  awslocal secretsmanager put-secret-value \
    --secret-id ecommerce/payment-api-key --secret-string sk_test_local >/dev/null
  awslocal secretsmanager put-secret-value \
    --secret-id ecommerce/user-signing-keys --secret-string "file://$MATSURI_KEYS/user-signing-keys.json" >/dev/null
  awslocal secretsmanager put-secret-value \
    --secret-id ecommerce/refresh-pepper --secret-string "file://$MATSURI_KEYS/refresh-pepper" >/dev/null
fi
