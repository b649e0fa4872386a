#!/bin/sh
# Makes the packs of models/smollm2-135m: from its corpora, train/ and the shards of train/generate.py.
#
#   train/ngram/smollm2-packs.sh DATA DISTILL TOKENIZER_JSON [PACK...]
#
# The weights of mixed are for the 2.46 M tokens that the base wrote in all shards; the five packs of one task were made from the
# first four (0000 to 0003, 0.29 M) alone.
#
# Token files are kept in .cache/ngram: those of DATA are made once (five minutes of CPU), those of DISTILL every time. A pack
# from the corpora then takes a minute and 5 GB, the small ones seconds. Same tokens, same bytes.
set -eu
data=$1 distill=$2 tokenizer=$3
shift 3
packs=${*:-general mixed self math qa summarization chat code}
cache=.cache/ngram
out=models/smollm2-135m/packs
mkdir -p "$cache"

tokens() { # FILE INPUT...: made where it is missing
  [ -f "$cache/$1.u16" ] && return
  file=$1
  shift
  python train/ngram/token_ids.py --tokenizer "$tokenizer" --out "$cache/$file.u16" "$@"
}

generated() { # FILE [--tasks A,B]
  file=$1
  shift
  python train/ngram/token_ids.py --tokenizer "$tokenizer" --out "$cache/$file.u16" "$@" "$distill"/[0-9][0-9][0-9][0-9].npz
}

train() { # PACK BYTES PRUNE INPUT[@WEIGHT]...
  pack=$1 bytes=$2 prune=$3
  shift 3
  case " $packs " in *" $pack "*) ;; *) return 0 ;; esac
  # shellcheck disable=SC2046 # one word an input
  npm run --silent ngram -- train --tokenizer "$tokenizer" --order 4 --prune "$prune" --max-bytes "$bytes" --hold-out 7:50 \
    --out "$out/$pack.fdlm" $(printf "$cache/%s " "$@")
}

tokens corpus "$data"/corpus/*.txt.xz
tokens code "$data"/corpus/code_permissive.txt.xz
tokens math "$data"/train/gsm8k_train.jsonl.xz
tokens qa "$data"/train/qa.jsonl.xz "$data"/train/t0_qa.jsonl.xz
tokens chat "$data"/train/instruct.jsonl.xz "$data"/train/instruct_oasst_eval.jsonl.xz "$data"/train/prompts_only.jsonl.xz
tokens summ "$data"/train/summ.jsonl.xz "$data"/train/summ_wiki.jsonl.xz "$data"/train/dialogue.jsonl.xz
generated self
generated self-math --tasks gsm8k_train
generated self-qa --tasks qa,t0_qa
generated self-chat --tasks instruct,instruct_oasst_eval,prompts_only,dialogue
generated self-summ --tasks summ,summ_wiki
generated self-code --tasks code_permissive

train general 22000K 0,0,1,1 corpus.u16
train mixed 8M 0,0,1,1 corpus.u16 chat.u16@3 qa.u16@2 math.u16@3 summ.u16 self.u16@6
train self 1M 0,0,0,0 self.u16
train math 512K 0,0,0,0 math.u16 self-math.u16@20 self.u16@5
train qa 512K 0,0,0,0 qa.u16 self-qa.u16@40 self.u16@20
train summarization 512K 0,0,0,0 summ.u16 self-summ.u16@60 self.u16@20
train chat 512K 0,0,0,0 chat.u16 self-chat.u16@40 self.u16@10
train code 512K 0,0,0,0 code.u16 self-code.u16@40 self.u16@4
