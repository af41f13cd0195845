"""Writes NAME.json.gz here: tiny random models of real libraries as the tensorflowjs converter writes them, with one set of inputs and
TensorFlow's outputs. python make_models.py OUT [name ...]; needs Python 3.11, tensorflow-cpu 2.15.1, transformers 4.40.2, tf-keras 2.15.1,
tensorflow-hub, pandas, packaging, six, setuptools<81 and tensorflowjs 4.22.0 installed with --no-deps (the imports it does not use are stubbed).
Weights are rounded to multiples of 1/32, so that the files compress."""
import sys, types, os, json, shutil, gzip, base64
os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'; os.environ['TF_USE_LEGACY_KERAS'] = '1'; os.environ['TF_ENABLE_ONEDNN_OPTS'] = '0'
for n in ['tensorflow_decision_forests', 'jax', 'jax.experimental', 'jax.experimental.jax2tf', 'flax']:
    sys.modules.setdefault(n, types.ModuleType(n))
sys.modules['jax'].experimental = sys.modules['jax.experimental']; sys.modules['jax.experimental'].jax2tf = sys.modules['jax.experimental.jax2tf']
import numpy as np, tensorflow as tf
from tensorflowjs.converters import tf_saved_model_conversion_v2 as conv
for n in ['jax', 'flax', 'jax.experimental', 'jax.experimental.jax2tf', 'tensorflow_decision_forests']: sys.modules.pop(n, None)
tf.random.set_seed(7); rng = np.random.default_rng(7)

def normal(shape): return np.round(rng.standard_normal(shape) * 64) / 64
def ids(hi, *s): return rng.integers(3, hi, s).astype(np.int32)
def pad(b, s):
    m = np.ones((b, s), np.int32); m[-1, s - s // 3:] = 0; return m

def hf(cls, cfg, out):
    import transformers as t
    m = getattr(t, cls)(cfg(t))
    return lambda **kw: getattr(m(**kw, training=False), out), m

def models():
    K = tf.keras
    def keras_mha():
        q = K.Input((None, 24), name='x'); m = K.layers.MultiHeadAttention(3, 8); y = m(q, q)
        mod = K.Model(q, y); return (lambda x: mod(x, training=False)), mod, {'x': normal((2, 19, 24)).astype(np.float32)}
    small = dict(vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
    def bert():
        f, m = hf('TFBertModel', lambda t: t.BertConfig(**small), 'last_hidden_state'); return f, m, {'input_ids': ids(99, 2, 17), 'attention_mask': pad(2, 17)}
    def gpt2():
        f, m = hf('TFGPT2LMHeadModel', lambda t: t.GPT2Config(vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=64, use_cache=False), 'logits'); return f, m, {'input_ids': ids(99, 2, 17)}
    def single_matmul_chain():
        w = tf.Variable(normal((16, 16)).astype(np.float32)); mod = tf.Module(); mod.w = w
        def f(x):
            q = tf.matmul(x, w); p = tf.nn.softmax(tf.matmul(q, x, transpose_b=True) * 0.25); return tf.matmul(p, x)
        return f, mod, {'x': normal((2, 11, 16)).astype(np.float32)}
    def probabilities_used_twice():  # must NOT be fused: the attention weights are an output too
        mod = tf.Module()
        def f(x):
            p = tf.nn.softmax(tf.matmul(x, x, transpose_b=True)); return {'y': tf.matmul(p, x), 'weights': p}
        return f, mod, {'x': normal((2, 11, 16)).astype(np.float32)}

    def tiny(cls, cfgname, inputs, out='last_hidden_state', **kw):
        f, m = hf(cls, lambda t: getattr(t, cfgname)(**kw), out); return f, m, inputs
    def bert_unmasked(): return tiny('TFBertModel', 'BertConfig', {'input_ids': ids(99, 2, 17)}, **small)
    def distilbert(): return tiny('TFDistilBertModel', 'DistilBertConfig', {'input_ids': ids(99, 2, 17), 'attention_mask': pad(2, 17)}, vocab_size=99, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=64)
    def albert(): return tiny('TFAlbertModel', 'AlbertConfig', {'input_ids': ids(99, 2, 17), 'attention_mask': pad(2, 17)}, **dict(small, embedding_size=16))
    def electra(): return tiny('TFElectraModel', 'ElectraConfig', {'input_ids': ids(99, 2, 17), 'attention_mask': pad(2, 17)}, **dict(small, embedding_size=16))
    def roberta(): return tiny('TFRobertaModel', 'RobertaConfig', {'input_ids': ids(99, 2, 17), 'attention_mask': pad(2, 17)}, **dict(small, max_position_embeddings=64))
    def mpnet(): return tiny('TFMPNetModel', 'MPNetConfig', {'input_ids': ids(99, 2, 17), 'attention_mask': pad(2, 17)}, **dict(small, max_position_embeddings=64))
    def minilm(): return tiny('TFBertModel', 'BertConfig', {'input_ids': ids(99, 3, 9), 'attention_mask': pad(3, 9)}, **dict(small, num_hidden_layers=3, num_attention_heads=2))
    def gpt2_mask(): return tiny('TFGPT2LMHeadModel', 'GPT2Config', {'input_ids': ids(99, 2, 17), 'attention_mask': pad(2, 17)}, 'logits', vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=64, use_cache=False)
    def gpt2_left_padding():
        f, m, inputs = gpt2_mask(); return f, m, dict(inputs, attention_mask=inputs['attention_mask'][:, ::-1].copy())
    def gpt2_past():
        import transformers as t
        m = t.TFGPT2LMHeadModel(t.GPT2Config(vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=64)); m(ids(99, 2, 5))
        def f(input_ids, past_0, past_1): return m(input_ids=input_ids, past_key_values=(past_0, past_1), use_cache=True, training=False).logits
        p = lambda: normal((2, 2, 4, 6, 8)).astype(np.float32)
        return f, m, {'input_ids': ids(99, 2, 5), 'past_0': p(), 'past_1': p()}
    def t5():
        import transformers as t
        m = t.TFT5ForConditionalGeneration(t.T5Config(vocab_size=99, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, use_cache=False))
        def f(**kw): return m(**kw, training=False).logits
        return f, m, {'input_ids': ids(99, 2, 13), 'attention_mask': pad(2, 13), 'decoder_input_ids': ids(99, 2, 7)}
    def bart():
        import transformers as t
        m = t.TFBartForConditionalGeneration(t.BartConfig(vocab_size=99, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64, use_cache=False))
        def f(**kw): return m(**kw, training=False).logits
        return f, m, {'input_ids': ids(99, 2, 13), 'attention_mask': pad(2, 13), 'decoder_input_ids': ids(99, 2, 7)}
    def whisper():
        import transformers as t
        m = t.TFWhisperForConditionalGeneration(t.WhisperConfig(vocab_size=99, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_source_positions=12, max_target_positions=16, num_mel_bins=8, use_cache=False, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None))
        def f(**kw): return m(**kw, training=False).logits
        return f, m, {'input_features': normal((2, 8, 24)).astype(np.float32), 'decoder_input_ids': ids(99, 2, 7)}
    def vit(): return tiny('TFViTModel', 'ViTConfig', {'pixel_values': normal((2, 3, 16, 16)).astype(np.float32)}, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=16, patch_size=4)
    def clip_vision(): return tiny('TFCLIPVisionModel', 'CLIPVisionConfig', {'pixel_values': normal((2, 3, 16, 16)).astype(np.float32)}, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=16, patch_size=4)
    def clip_text(): return tiny('TFCLIPTextModel', 'CLIPTextConfig', {'input_ids': ids(90, 2, 11), 'attention_mask': pad(2, 11)}, vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, max_position_embeddings=16)
    def keras_causal():
        q = K.Input((None, 24), name='x'); y = K.layers.MultiHeadAttention(3, 8)(q, q, use_causal_mask=True)
        mod = K.Model(q, y); return (lambda x: mod(x, training=False)), mod, {'x': normal((2, 19, 24)).astype(np.float32)}
    def keras_causal_padding():
        q = K.Input((None, 24), name='x'); p = K.Input((None,), dtype='bool', name='keep')
        y = K.layers.MultiHeadAttention(3, 8)(q, q, attention_mask=p[:, tf.newaxis, :], use_causal_mask=True)
        mod = K.Model([q, p], y); return (lambda x, keep: mod([x, tf.cast(keep, tf.bool)], training=False)), mod, {'x': normal((2, 19, 24)).astype(np.float32), 'keep': pad(2, 19)}
    def keras_mask_zero():  # the embedding's mask hides queries and keys, the causal mask more
        i = K.Input((None,), dtype='int32', name='ids'); e = K.layers.Embedding(30, 24, mask_zero=True)(i); y = K.layers.MultiHeadAttention(3, 8)(e, e, use_causal_mask=True)
        mod = K.Model(i, y); return (lambda ids: mod(ids, training=False)), mod, {'ids': ids(30, 2, 11) * pad(2, 11)}
    def keras_cross():
        q = K.Input((None, 24), name='x'); s = K.Input((None, 16), name='s'); y = K.layers.MultiHeadAttention(3, 8, value_dim=5)(q, s)
        mod = K.Model([q, s], y); return (lambda x, s: mod([x, s], training=False)), mod, {'x': normal((2, 19, 24)).astype(np.float32), 's': normal((2, 7, 16)).astype(np.float32)}
    def keras_attention():
        q = K.Input((None, 24), name='x'); s = K.Input((None, 24), name='s'); y = K.layers.Attention(use_scale=True)([q, s])
        mod = K.Model([q, s], y); mod.layers[-1].scale.assign(0.37); return (lambda x, s: mod([x, s], training=False)), mod, {'x': normal((2, 19, 24)).astype(np.float32), 's': normal((2, 7, 24)).astype(np.float32)}
    def keras_attention_causal():
        q = K.Input((None, 24), name='x'); y = K.layers.Attention()([q, q], use_causal_mask=True)
        mod = K.Model(q, y); return (lambda x: mod(x, training=False)), mod, {'x': normal((2, 19, 24)).astype(np.float32)}
    def keras_additive():
        q = K.Input((None, 24), name='x'); s = K.Input((None, 24), name='s'); y = K.layers.AdditiveAttention()([q, s])
        mod = K.Model([q, s], y); return (lambda x, s: mod([x, s], training=False)), mod, {'x': normal((2, 9, 24)).astype(np.float32), 's': normal((2, 7, 24)).astype(np.float32)}
    def forms():  # attention spelled in other ways, one after another
        mod = tf.Module(); mod.w = tf.Variable(normal((16, 48)).astype(np.float32) * 0.3); mod.u = tf.Variable(normal((16, 16)).astype(np.float32) * 0.3)
        def heads(t, h): return tf.transpose(tf.reshape(t, [tf.shape(t)[0], tf.shape(t)[1], h, 16 // h]), [0, 2, 1, 3])
        def join(t): return tf.reshape(tf.transpose(t, [0, 2, 1, 3]), [tf.shape(t)[0], -1, 16])
        def f(x):
            for n in range(8):
                q, k, v = tf.split(x @ mod.w, 3, axis=-1)
                n_q = tf.shape(x)[1]
                if n == 0:  # exp / sum, explicit transpose of k, computed 1/sqrt(d)
                    q, k, v = heads(q, 4), heads(k, 4), heads(v, 4); s = q @ tf.transpose(k, [0, 1, 3, 2]) / tf.sqrt(tf.cast(tf.shape(k)[-1], tf.float32))
                    e = tf.exp(s - tf.reduce_max(s, -1, keepdims=True)); y = join((e / tf.reduce_sum(e, -1, keepdims=True)) @ v)
                elif n == 1:  # log softmax, -1e9 where
                    q, k, v = heads(q, 4), heads(k, 4), heads(v, 4); s = tf.matmul(q * 0.5, k, transpose_b=True); i = tf.range(n_q)
                    s = tf.where(i[tf.newaxis, :] > i[:, tf.newaxis], tf.constant(-1e9), s); y = join(tf.exp(tf.nn.log_softmax(s)) @ v)
                elif n == 2:  # einsum with other letters, multi-query, band_part
                    q = tf.reshape(q, [tf.shape(x)[0], n_q, 4, 4]); k, v = k[..., :4], v[..., :4]
                    s = tf.einsum('zqnw,zkw->znqk', q, k) * 0.5 + (1.0 - tf.linalg.band_part(tf.ones((n_q, n_q)), -1, 0)) * -1e9
                    y = tf.reshape(tf.einsum('znqk,zkw->zqnw', tf.nn.softmax(s), v), [tf.shape(x)[0], n_q, 16])
                elif n == 3:  # one key head repeated for all
                    q = heads(q, 4); k, v = (tf.tile(heads(t, 4)[:, :1], [1, 4, 1, 1]) for t in (k, v))
                    y = join(tf.nn.softmax(tf.matmul(q, k, transpose_b=True) * 0.5) @ v)
                elif n == 4:  # softcap
                    q, k, v = heads(q, 2), heads(k, 2), heads(v, 2); s = tf.matmul(q, k, transpose_b=True) * 0.35; y = join(tf.nn.softmax(3.0 * tf.tanh(s / 3.0)) @ v)
                elif n == 5:  # ALiBi as a bias, stable_softmax
                    q, k, v = heads(q, 4), heads(k, 4), heads(v, 4); i = tf.cast(tf.range(n_q), tf.float32); m = tf.constant([0.5, 0.25, 0.125, 0.0625])
                    s = tf.matmul(q, k, transpose_b=True) * 0.5 - m[None, :, None, None] * tf.abs(i[None, :] - i[:, None])[None, None]; y = join(tf.nn.softmax(s + 1e-9) @ v)
                elif n == 6:  # no batch: every position looks at a table
                    p = tf.nn.softmax(tf.matmul(tf.reshape(q, [-1, 16]), mod.u)); y = tf.reshape(tf.matmul(p, mod.u, transpose_b=True), tf.shape(x))
                else:  # v and probabilities transposed: out^T = v^T p^T
                    s = tf.matmul(q, k, transpose_b=True) * 0.25; y = tf.transpose(tf.matmul(v, tf.nn.softmax(s), transpose_a=True, transpose_b=True), [0, 2, 1])
                x = x + 0.25 * y
            return x
        return f, mod, {'x': normal((2, 11, 16)).astype(np.float32)}
    def refused():  # none of these may be fused
        mod = tf.Module(); mod.w = tf.Variable(normal((16, 16)).astype(np.float32))
        def f(x):
            s = tf.matmul(x @ mod.w, x, transpose_b=True)
            a = tf.nn.softmax(s, axis=1) @ x                                   # over the queries
            p = tf.nn.softmax(s); b = (p / tf.reduce_sum(p, 1, keepdims=True)) @ x   # another reduction between
            c = tf.nn.softmax(tf.where(s > 0.0, s, 0.0)) @ x                     # a fill that hides nothing
            d = tf.nn.softmax(s * tf.sigmoid(s)) @ x                             # a gate
            e = tf.nn.softmax(tf.reduce_sum(tf.tanh(x[:, :, None] + x[:, None]), -1)) @ x
            return a + b + c + d + e
        return f, mod, {'x': normal((2, 11, 16)).astype(np.float32)}
    def loop():  # attention in a While body
        mod = tf.Module(); mod.w = tf.Variable(normal((16, 16)).astype(np.float32) * 0.2)
        def f(x):
            def body(i, y):
                q = tf.matmul(y, tf.tile(mod.w[None], [2, 1, 1])); return i + 1, y + tf.matmul(tf.nn.softmax(tf.matmul(q, y, transpose_b=True) * 0.25), y)
            return tf.while_loop(lambda i, y: i < 3, body, [0, x])[1]
        return f, mod, {'x': normal((2, 11, 16)).astype(np.float32)}
    return {k: v for k, v in locals().items() if callable(v) and k not in ('hf', 'tiny')}

OWN = ('forms', 'refused', 'loop', 't5'); out = sys.argv[1]; M = models(); names = sys.argv[2:] or list(M)
for name in names:
    try:
        f, mod, inp = M[name]()
        f(**{k: tf.constant(v) for k, v in inp.items()})
        for v in mod.variables:
            if v.dtype == tf.float32 and v.shape.rank >= 2: v.assign(np.round(v.numpy() * (32 if name in OWN else 128)) / 32)
        spec = {k: tf.TensorSpec([2, 2, 4, None, 8] if k.startswith('past') else [None, None] + list(v.shape[2:]) if v.ndim < 4 and k != 'input_features' else [None, *v.shape[1:]], v.dtype, name=k) for k, v in inp.items()}
        y = f(**{k: tf.constant(v) for k, v in inp.items()})
        fn = tf.function(lambda **kw: f(**kw)); root = tf.Module(); root.m = mod
        root.f = tf.function(lambda **kw: (lambda r: r if isinstance(r, dict) else {'y': r})(f(**kw)))
        d = f'{out}/{name}'; shutil.rmtree(d, ignore_errors=True)
        tf.saved_model.save(root, '/tmp/_sm', signatures=root.f.get_concrete_function(**spec))
        conv.convert_tf_saved_model('/tmp/_sm', d, skip_op_check=True, strip_debug_ops=True, control_flow_v2=True)
        y = y if isinstance(y, dict) else {'y': y}
        io = {'inputs': {k: {'dtype': str(v.dtype), 'shape': list(v.shape), 'data': [x.item() for x in v.ravel()]} for k, v in inp.items()},
              'outputs': {k: {'shape': list(v.shape), 'data': [float(f'{x:.7g}') for x in v.numpy().ravel()]} for k, v in y.items()}}
        model = json.load(open(f'{d}/model.json'))
        weights = b''.join(open(f'{d}/{p}', 'rb').read() for g in model['weightsManifest'] for p in g['paths'])
        with gzip.GzipFile(f'{out}/{name}.json.gz', 'wb', 9, mtime=0) as z:
            z.write(json.dumps({'model': model, 'weights': base64.b64encode(weights).decode(), **io}, separators=(',', ':')).encode())
        g = json.load(open(f'{d}/model.json'))['modelTopology']['node']
        ops = [n['op'] for n in g]
        print(name, len(g), {o: ops.count(o) for o in ('Softmax', 'BatchMatMulV2', 'BatchMatMul', 'Einsum', '_FusedMatMul', 'MatMul', 'Exp', 'SelectV2')}, flush=True)
    except Exception as e:
        print(name, 'FAILED', type(e).__name__, str(e)[:300], flush=True)
