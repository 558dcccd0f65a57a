#!/bin/sh
# Synthetic speech for `dubcli train audio-encoder --sounds OUT`: random words, many voices.
# Debian: apt-get install espeak-ng flite wamerican wportuguese wdutch wdanish wcatalan
# sh examples/synthesise_speech.sh OUT [utterances a voice]
set -eu
out=$1
count=${2:-60}
words=12 # an utterance
mkdir -p "$out"
seed=1000

# The same words at every run: Lehmer's generator picks lines of the list.
say() { # list seed -> words
    awk -v state="$2" -v words="$words" '{ line[NR] = $0 } END {
        for (k = 0; k < words + 5; k++) {
            state = state * 16807 % 2147483647
            if (k >= 5) printf "%s ", line[state % NR + 1]
        }
    }' "/usr/share/dict/$1"
}

for voice in awb rms slt kal16; do
    for k in $(seq "$count"); do
        file="$out/flite-$voice-$k.wav" seed=$((seed + 1))
        [ -f "$file" ] || flite -voice "$voice" -t "$(say american-english "$seed")" -o "$file"
    done
done
while read -r voice list; do
    for k in $(seq "$count"); do
        file="$out/espeak-$voice-$k.wav" seed=$((seed + 1))
        # Men and women, fast and slow, high and deep.
        kind=$(echo "m1 f2 m3 f4 m5 f1 m7 f5" | cut -d' ' -f$((k % 8 + 1)))
        [ -f "$file" ] || espeak-ng -v "$voice+$kind" -s $((130 + k * 37 % 60)) \
            -p $((30 + k * 17 % 45)) -w "$file" "$(say "$list" "$seed")"
    done
done <<VOICES
en-us american-english
pt portuguese
nl dutch
da danish
en-gb american-english
ca catalan
VOICES
