#!/usr/bin/env bash
# The whole way once, on 5,210 pieces of clip art: features, training, export, Milvus, searches, mAP from the index.
# Every command is printed before it runs. Results go to examples/clipart/out; delete it to start afresh.
set -euo pipefail
cd "$(dirname "$0")"
out=out
mkdir -p $out/searches
export MILVUS_URI=./$out/milvus.db
settings='--bits 64 --epochs 15'

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
run() { printf '\033[32m$ %s\033[0m\n' "$(printf '%q ' "$@")"; "$@"; }
search() {
    run milvus-ichash query --collection clipart --top-k 6 --field title --field tags "${@:2}"
    milvus-ichash query --collection clipart --top-k 12 --field title --format json --quiet "${@:2}" > "$out/searches/$1.json"
}

say 'Features: pictures through a pretrained network, words as a bag of words'
run python features.py $out

say 'Train 64-bit codes on pictures and words, and look at what came out'
# The contrast keeps the things of one folder apart, for people who look for one of them.
run milvus-ichash train $out/search.parquet $settings --set contrast=1 --set temperature=0.2 --out $out/run --overwrite
run milvus-ichash export $out/run --out $out/bundle --overwrite \
    --vocabulary text=$out/vocabulary.json --picture-tower image=$out/picture_tower.onnx \
    --picture-mean .498,.498,.498 --picture-std .502,.502,.502 --picture-fit pad

say 'Codes into Milvus (Lite: a file here; MILVUS_URI names a server just as well)'
run milvus-ichash ingest $out/search.parquet --bundle $out/bundle --collection clipart --recreate --yes
run milvus-ichash inspect --collection clipart

say 'Search by words, then by a picture that has no words at all'
search 1-sailing-boat --bundle $out/bundle --words 'sailing boat'
search 2-weather --bundle $out/bundle --words weather
search 3-house --bundle $out/bundle --words house
search 4-picture --bundle $out/bundle --picture $out/bare/attenzione_rotondo_archi_01.webp
run python page.py pictures.parquet $out/searches $out/page.html $out/sheet.png

say 'mAP from the index. Words that name the labels would answer the question, so this part is trained without them'
run milvus-ichash train $out/fair.parquet --holdout 500 --holdout-by order $settings --out $out/fair-run --overwrite
run milvus-ichash ingest $out/fair.parquet --holdout 500 --holdout-by order --bundle $out/fair-run/bundle --collection clipart_fair --recreate --yes
run milvus-ichash evaluate $out/fair.parquet --holdout 500 --holdout-by order --bundle $out/fair-run/bundle --collection clipart_fair --via readback --figure $out/pr_curve.png

printf '\nThe searches with their pictures: %s\nThe precision-recall curve:        %s\n' "$PWD/$out/page.html" "$PWD/$out/pr_curve.png"
